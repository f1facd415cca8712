//! A pattern of Java's `SimpleDateFormat`: <https://docs.oracle.com/en/java/javase/21/docs/api/java.base/java/text/SimpleDateFormat.html>.
//!
//! | letter | means | written as |
//! |---|---|---|
//! | `y`, `Y`, `u` of four | year | `yy` two digits (read as 1970 to 2069), else all of it |
//! | `M`, `L` | month | a number; `MMM` its English abbreviation, `MMMM` its name |
//! | `d`, `D` | day of the month, of the year | numbers |
//! | `E`; `u` | day of the week | its English abbreviation, `EEEE` its name; 1 (Monday) to 7. Read over |
//! | `H`, `k`; `K`, `h`; `a` | hour 0–23, 1–24; 0–11, 1–12; AM or PM | |
//! | `m`, `s` | minute, second | |
//! | `S` | fraction of the second | as many digits as letters |
//! | `z`, `Z`, `X` | zone | `GMT`, `+0000`, `Z`. Each is read in any of these forms |
//!
//! Texts stand in `'…'`, a quote is `''`; other characters stand for themselves.

use std::fmt::Write as _;

use events::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;

use super::{Grain, Read, Zone, zone};

/// A pattern that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the date pattern {pattern:?} {problem} (at position {position})")]
pub struct PatternError {
    /// The pattern as given.
    pub pattern: String,
    /// Which of its characters, from 1.
    pub position: usize,
    /// What is wrong there.
    pub problem: String,
}

/// A pattern.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    text: String,
    parts: Vec<Part>,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Field {
        letter: char,
        count: usize,
        /// Whether digits follow at once, so that its own are counted.
        exact: bool,
    },
}

const LETTERS: &str = "yYMLdDEuaHkKhmsSzZX";
const NUMBERS: &str = "yYdDuHkKhmsS";

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

impl Pattern {
    pub(super) fn parse(given: &str) -> Result<Self, PatternError> {
        let error =
            |position: usize, problem: String| Err(PatternError { pattern: given.to_owned(), position, problem });
        let mut text = given.trim();
        // `…ss'Z''`, or a quote that belonged to the value around the pattern: an odd one at the end.
        if text.matches('\'').count() % 2 == 1 {
            text = text.strip_suffix('\'').unwrap_or(text);
        }
        if text.is_empty() {
            return error(1, "is empty; a pattern is written yyyy-MM-dd'T'HH:mm:ssXXX, or milliseconds".into());
        }
        let characters: Vec<char> = text.chars().collect();
        let (mut parts, mut at) = (Vec::<Part>::new(), 0);
        let push = |parts: &mut Vec<Part>, text: &str| match parts.last_mut() {
            Some(Part::Text(last)) => last.push_str(text),
            _ => parts.push(Part::Text(text.to_owned())),
        };
        while let Some(&character) = characters.get(at) {
            if character == '\'' {
                // An unfinished text ends with the pattern.
                let length = characters[at + 1..].iter().take_while(|c| **c != '\'').count();
                let quoted: String = characters[at + 1..at + 1 + length].iter().collect();
                push(&mut parts, if length == 0 { "'" } else { &quoted });
                at += length + 2;
                // Java: a doubled quote inside a text is one quote.
                if length > 0 && characters.get(at) == Some(&'\'') {
                    push(&mut parts, "'");
                }
            } else if character.is_ascii_alphabetic() {
                if !LETTERS.contains(character) {
                    let problem =
                        format!("has the letter {character:?}, which means nothing here; letters are {LETTERS}");
                    return error(at + 1, problem);
                }
                let count = characters[at..].iter().take_while(|c| **c == character).count();
                if count > 9 {
                    return error(at + 1, format!("repeats {character:?} {count} times; 9 is the most"));
                }
                parts.push(Part::Field { letter: character, count, exact: false });
                at += count;
            } else {
                push(&mut parts, character.encode_utf8(&mut [0; 4]));
                at += 1;
            }
        }
        for place in 1..parts.len() {
            let follows = parts[place].is_number();
            if let Part::Field { exact, .. } = &mut parts[place - 1] {
                *exact = follows;
            }
        }
        let dated = |part: &Part| matches!(part, Part::Field { letter: 'y' | 'Y' | 'u', .. });
        if !parts.iter().any(dated) {
            return error(1, "has no year".into());
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    fn has(&self, letters: &str) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Field { letter, .. } if letters.contains(*letter)))
    }

    pub(super) fn grain(&self) -> Grain {
        let letters = [("S", Grain::Millisecond), ("s", Grain::Second), ("m", Grain::Minute)];
        letters.into_iter().find(|(letter, _)| self.has(letter)).map_or(Grain::Day, |(_, grain)| grain)
    }

    pub(super) fn write(&self, at: Timestamp, zone: &Zone) -> String {
        let end = if at.as_millis() < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
        let moment = jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or(end);
        let time = zone.zone().to_datetime(moment);
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Field { letter, count, .. } => field(&mut text, (*letter, *count), time, moment, zone.zone()),
            }
        }
        text
    }

    /// `None`: the text does not match.
    pub(super) fn read(&self, text: &str, zone: &Zone) -> Option<Read> {
        let (mut rest, mut fields) = (text, Fields::default());
        for part in &self.parts {
            match part {
                Part::Text(literal) => rest = literally(rest, literal)?,
                Part::Field { letter, count, exact } => rest = fields.read(rest, *letter, *count, *exact)?,
            }
        }
        if !rest.trim().is_empty() {
            return None;
        }
        let time = fields.time()?;
        let at = match &fields.zone {
            Some(own) => zone::later(own, time)?,
            None => zone.moment(time)?,
        };
        let grain = match self.grain() {
            Grain::Millisecond if at.as_millis().rem_euclid(1000) == 0 => Grain::Second,
            grain => grain,
        };
        Some(Read { at, grain, otherwise: false })
    }
}

impl Part {
    fn is_number(&self) -> bool {
        match self {
            Self::Text(_) => false,
            Self::Field { letter: 'M' | 'L', count, .. } => *count < 3,
            Self::Field { letter, .. } => NUMBERS.contains(*letter),
        }
    }
}

/// Writes a field after what is written.
fn field(text: &mut String, (letter, count): (char, usize), time: DateTime, moment: jiff::Timestamp, zone: &TimeZone) {
    let named = |name: &'static str| if count > 3 { name } else { &name[..3] };
    let hour = i64::from(time.hour());
    let number = match letter {
        'u' if count < 4 => time.weekday().to_monday_one_offset().into(),
        'y' | 'Y' if count == 2 => time.year().rem_euclid(100).into(),
        'y' | 'Y' | 'u' => time.year().into(),
        'M' | 'L' if count > 2 => {
            return text.push_str(named(MONTHS[usize::from(time.month().unsigned_abs()) - 1]));
        }
        'M' | 'L' => time.month().into(),
        'd' => time.day().into(),
        'D' => time.date().day_of_year().into(),
        'E' => return text.push_str(named(DAYS[usize::from(time.weekday().to_monday_zero_offset().unsigned_abs())])),
        'a' => return text.push_str(if hour < 12 { "AM" } else { "PM" }),
        'H' => hour,
        'k' => (hour + 23) % 24 + 1,
        'K' => hour % 12,
        'h' => (hour + 11) % 12 + 1,
        'm' => time.minute().into(),
        's' => time.second().into(),
        'S' => return text.push_str(&format!("{:09}", time.subsec_nanosecond())[..count.min(9)]),
        _ => return text.push_str(&offset(letter, count, moment, zone)),
    };
    // Nothing fails that writes to a text.
    let _ = write!(text, "{number:0count$}");
}

fn offset(letter: char, count: usize, moment: jiff::Timestamp, zone: &TimeZone) -> String {
    let info = zone.to_offset_info(moment);
    let seconds = info.offset().seconds();
    let sign = if seconds < 0 { '-' } else { '+' };
    let (hours, minutes) = (seconds.abs() / 3600, seconds.abs() / 60 % 60);
    match (letter, count) {
        ('z', _) if seconds == 0 => "GMT".into(),
        ('z', _) if info.abbreviation().starts_with(|c: char| c.is_ascii_alphabetic()) => info.abbreviation().into(),
        ('z', _) => format!("GMT{sign}{hours:02}:{minutes:02}"),
        ('X', _) if seconds == 0 => "Z".into(),
        ('X', 1) if minutes == 0 => format!("{sign}{hours:02}"),
        ('X', 3..) => format!("{sign}{hours:02}:{minutes:02}"),
        _ => format!("{sign}{hours:02}{minutes:02}"),
    }
}

/// What comes after `literal`; a blank of it is one or more of the text.
fn literally<'t>(mut text: &'t str, literal: &str) -> Option<&'t str> {
    for character in literal.chars() {
        text = match character {
            ' ' => text.strip_prefix(char::is_whitespace)?.trim_start(),
            'T' | 't' | 'Z' | 'z' => text.strip_prefix(|c: char| c.eq_ignore_ascii_case(&character))?,
            _ => text.strip_prefix(character)?,
        };
    }
    Some(text)
}

/// What has been read of a date.
#[derive(Default)]
struct Fields {
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    /// Of 24, or of 12 where `half` counts.
    hour: i64,
    half: bool,
    afternoon: bool,
    minute: i64,
    second: i64,
    nanosecond: i64,
    zone: Option<TimeZone>,
}

impl Fields {
    fn read<'t>(&mut self, text: &'t str, letter: char, count: usize, exact: bool) -> Option<&'t str> {
        match letter {
            'z' | 'Z' | 'X' => {
                let (zone, rest) = zone::within(text)?;
                self.zone = Some(zone);
                return Some(rest);
            }
            'E' => return name(text, &DAYS).map(|(_, rest)| rest),
            'M' | 'L' if count > 2 => {
                let (month, rest) = name(text, &MONTHS)?;
                self.month = Some(month + 1);
                return Some(rest);
            }
            'a' => {
                let (half, rest) = text.split_at_checked(2)?;
                self.afternoon = half.eq_ignore_ascii_case("PM");
                return (self.afternoon || half.eq_ignore_ascii_case("AM")).then_some(rest);
            }
            _ => {}
        }
        let most = if exact { count } else { 9 };
        let digits = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
        if digits == 0 || exact && digits < count {
            return None;
        }
        let (digits, rest) = text.split_at(digits);
        let number: i64 = digits.parse().ok()?;
        match letter {
            'u' if count < 4 => {}
            'y' | 'Y' if count == 2 && digits.len() == 2 => {
                self.year = Some(if number < 70 { 2000 + number } else { 1900 + number });
            }
            'y' | 'Y' | 'u' => self.year = Some(number),
            'M' | 'L' => self.month = Some(number),
            'd' => self.day = Some(number),
            'D' => self.day_of_year = Some(number),
            'H' => self.hour = number,
            'k' => self.hour = number % 24,
            'K' | 'h' => (self.hour, self.half) = (number, true),
            'm' => self.minute = number,
            's' => self.second = number,
            _ => {
                self.nanosecond = format!("{digits:0<9}").parse().ok()?;
                // Beyond nanoseconds nothing counts.
                return Some(if exact { rest } else { rest.trim_start_matches(|c: char| c.is_ascii_digit()) });
            }
        }
        Some(rest)
    }

    fn time(&self) -> Option<DateTime> {
        let small = |number: i64| i8::try_from(number).ok();
        let year = i16::try_from(self.year?).ok()?;
        let month = small(self.month.unwrap_or(1))?;
        let date = match self.day_of_year {
            Some(day) => Date::new(year, 1, 1).ok()?.with().day_of_year(i16::try_from(day).ok()?).build().ok()?,
            None => Date::new(year, month, small(self.day.unwrap_or(1))?).ok()?,
        };
        let hour = match self.half {
            true if self.hour > 12 => return None,
            true => self.hour % 12 + if self.afternoon { 12 } else { 0 },
            false => self.hour,
        };
        // A leap second is told as the second before it: no clock of ours has one.
        let second = if self.second == 60 { 59 } else { self.second };
        let nanosecond = i32::try_from(self.nanosecond).ok()?;
        Some(date.to_datetime(Time::new(small(hour)?, small(self.minute)?, small(second)?, nanosecond).ok()?))
    }
}

/// Which of `names` (or its first three letters) a text begins with, from 0, and what comes after it.
fn name<'t>(text: &'t str, names: &[&str]) -> Option<(i64, &'t str)> {
    let (word, rest) = text.split_at(text.bytes().take_while(u8::is_ascii_alphabetic).count());
    let begins = |name: &str| name.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    let place = names.iter().position(|name| word.len() >= 3 && begins(name))?;
    Some((i64::try_from(place).ok()?, rest))
}
