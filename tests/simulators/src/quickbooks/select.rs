//! Intuit's query language, as far as polling needs it: parsed, not recognised.
//!
//! `SELECT * | COUNT(*) |` properties `FROM` one entity, `WHERE` comparisons joined by `AND` (there is no `OR`), `ORDERBY` or
//! `ORDER BY` (providers.md §3.8: both), `STARTPOSITION`, `MAXRESULTS`.
//!
//! Source: developer.intuit.com/app/developer/qbo/docs/learn/explore-the-quickbooks-online-api/data-queries.

/// A query.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Select {
    /// Whether only their number is asked.
    pub(super) count: bool,
    /// The properties; empty: all.
    pub(super) properties: Vec<String>,
    pub(super) entity: String,
    pub(super) conditions: Vec<Condition>,
    /// Property, and whether it descends.
    pub(super) order: Vec<(String, bool)>,
    pub(super) start: usize,
    pub(super) most: usize,
}

/// One comparison.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Condition {
    pub(super) property: String,
    pub(super) operator: Operator,
    /// One value, or those of `IN`.
    pub(super) values: Vec<String>,
}

/// How a property is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Operator {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Like,
    In,
}

#[derive(Clone, PartialEq, Debug)]
enum Token {
    Word(String),
    Text(String),
    Symbol(char),
}

/// How many there are on a page that does not say how many it wants.
const PAGE: usize = 100;

/// Parses a query.
///
/// # Errors
/// What was met where something else should be.
pub(super) fn parse(text: &str) -> Result<Select, String> {
    let mut parser = Parser { tokens: tokens(text)?, next: 0 };
    let select = parser.select()?;
    if parser.next == parser.tokens.len() { Ok(select) } else { parser.unexpected() }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => {}
            '\'' => {
                let mut value = String::new();
                loop {
                    match chars.next() {
                        Some('\'') => break,
                        Some('\\') => value.extend(chars.next()),
                        Some(c) => value.push(c),
                        None => return Err("an open quote".into()),
                    }
                }
                tokens.push(Token::Text(value));
            }
            '(' | ')' | ',' | '=' | '<' | '>' | '*' => tokens.push(Token::Symbol(c)),
            c if c.is_alphanumeric() || "_.-".contains(c) => {
                let mut word = String::from(c);
                while let Some(c) = chars.next_if(|c| c.is_alphanumeric() || "_.-:".contains(*c)) {
                    word.push(c);
                }
                tokens.push(Token::Word(word));
            }
            c => return Err(c.to_string()),
        }
    }
    Ok(tokens)
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
}

impl Parser {
    fn unexpected<T>(&self) -> Result<T, String> {
        Err(match self.tokens.get(self.next) {
            None => "<EOF>".into(),
            Some(Token::Word(text) | Token::Text(text)) => text.clone(),
            Some(Token::Symbol(symbol)) => symbol.to_string(),
        })
    }

    fn skip_word(&mut self, word: &str) -> bool {
        let found = matches!(self.tokens.get(self.next), Some(Token::Word(next)) if next.eq_ignore_ascii_case(word));
        self.next += usize::from(found);
        found
    }

    fn skip(&mut self, symbol: char) -> bool {
        let found = self.tokens.get(self.next) == Some(&Token::Symbol(symbol));
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, found: bool) -> Result<(), String> {
        if found { Ok(()) } else { self.unexpected() }
    }

    fn word(&mut self) -> Result<String, String> {
        let Some(Token::Word(word)) = self.tokens.get(self.next).cloned() else { return self.unexpected() };
        self.next += 1;
        Ok(word)
    }

    fn number(&mut self) -> Result<usize, String> {
        match self.word()?.parse() {
            Ok(number) => Ok(number),
            Err(_) => {
                self.next -= 1;
                self.unexpected()
            }
        }
    }

    fn value(&mut self) -> Result<String, String> {
        let Some(Token::Word(value) | Token::Text(value)) = self.tokens.get(self.next).cloned() else {
            return self.unexpected();
        };
        self.next += 1;
        Ok(value)
    }

    fn list<T>(&mut self, item: impl Fn(&mut Self) -> Result<T, String>) -> Result<Vec<T>, String> {
        let mut items = vec![item(self)?];
        while self.skip(',') {
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn select(&mut self) -> Result<Select, String> {
        let found = self.skip_word("SELECT");
        self.expect(found)?;
        let count = self.skip_word("COUNT");
        let properties = if count {
            let found = self.skip('(') && self.skip('*') && self.skip(')');
            self.expect(found)?;
            Vec::new()
        } else if self.skip('*') {
            Vec::new()
        } else {
            self.list(Self::word)?
        };
        let found = self.skip_word("FROM");
        self.expect(found)?;
        let entity = self.word()?;
        let mut conditions = Vec::new();
        if self.skip_word("WHERE") {
            conditions.push(self.condition()?);
            while self.skip_word("AND") {
                conditions.push(self.condition()?);
            }
        }
        let mut order = Vec::new();
        if self.skip_word("ORDERBY") || (self.skip_word("ORDER") && self.skip_word("BY")) {
            order = self.list(|parser| {
                let property = parser.word()?;
                let descending = parser.skip_word("DESC");
                if !descending {
                    parser.skip_word("ASC");
                }
                Ok((property, descending))
            })?;
        }
        let start = if self.skip_word("STARTPOSITION") { self.number()? } else { 1 };
        let most = if self.skip_word("MAXRESULTS") { self.number()? } else { PAGE };
        Ok(Select { count, properties, entity, conditions, order, start, most })
    }

    fn condition(&mut self) -> Result<Condition, String> {
        let property = self.word()?;
        if self.skip_word("IN") {
            let found = self.skip('(');
            self.expect(found)?;
            let values = self.list(Self::value)?;
            let found = self.skip(')');
            self.expect(found)?;
            return Ok(Condition { property, operator: Operator::In, values });
        }
        let operator = if self.skip_word("LIKE") {
            Operator::Like
        } else if self.skip('=') {
            Operator::Equal
        } else if self.skip('<') {
            if self.skip('=') { Operator::LessOrEqual } else { Operator::Less }
        } else if self.skip('>') {
            if self.skip('=') { Operator::GreaterOrEqual } else { Operator::Greater }
        } else {
            return self.unexpected();
        };
        Ok(Condition { property, operator, values: vec![self.value()?] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_ordering_are_read() {
        let texts = ["ORDERBY Metadata.LastUpdatedTime ASC, Id DESC", "order by Metadata.LastUpdatedTime, Id desc"];
        let read = texts.map(|order| {
            parse(&format!(
                "SELECT * FROM Customer WHERE Metadata.LastUpdatedTime >= '2023-08-01T12:00:00-07:00' AND Active IN (true, \
                 false) {order} STARTPOSITION 11 MAXRESULTS 10"
            ))
            .expect("well formed")
        });
        assert_eq!(read[0], read[1]);
        assert_eq!((read[0].start, read[0].most), (11, 10));
        assert_eq!(read[0].order, [("Metadata.LastUpdatedTime".into(), false), ("Id".into(), true)]);
        let condition = |property: &str, operator, values: &[&str]| Condition {
            property: property.into(),
            operator,
            values: values.iter().map(ToString::to_string).collect(),
        };
        assert_eq!(
            read[0].conditions,
            [
                condition("Metadata.LastUpdatedTime", Operator::GreaterOrEqual, &["2023-08-01T12:00:00-07:00"]),
                condition("Active", Operator::In, &["true", "false"]),
            ]
        );
    }

    #[test]
    fn what_the_language_does_not_have_is_refused_where_it_stands() {
        for (text, met) in [
            ("SELECT * FROM Customer WHERE Id = '1' OR Id = '2'", "OR"),
            ("SELECT * FROM Customer WHERE Id != '1'", "!"),
            ("SELECT * FROM Customer MAXRESULTS ten", "ten"),
            ("SELECT COUNT(Id) FROM Customer", "Id"),
            ("SELECT * Customer", "Customer"),
            ("SELECT * FROM Customer WHERE Name = 'a", "an open quote"),
        ] {
            assert_eq!(parse(text).expect_err(text), met);
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_asked_is_parsed_or_refused(words in proptest::collection::vec(
            "SELECT|\\*|FROM|WHERE|AND|IN|LIKE|ORDERBY|ORDER|BY|STARTPOSITION|MAXRESULTS|7|Id|=|>=|\\(|\\)|,|'a'|'|\\PC{0,3}",
            0..20,
        )) {
            // It says where it failed, or that it did not: it never panics.
            let _ = parse(&words.join(" "));
        }
    }
}
