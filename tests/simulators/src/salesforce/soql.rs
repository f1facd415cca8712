//! SOQL, as far as polling needs it: parsed, not recognised.
//!
//! `SELECT` fields or `COUNT()` `FROM` one object, `WHERE` comparisons joined by `AND`, `OR`, `NOT` and parentheses, `ORDER BY`
//! several fields, `LIMIT`, `OFFSET`. Points in time are not quoted (providers.md §5.3); `AND` and `OR` are not mixed without
//! parentheses. Relations, functions, aggregates and literals like `TODAY` are malformed here.
//!
//! Source: developer.salesforce.com, SOQL and SOSL Reference, "SOQL SELECT Syntax", "Date Formats and Date Literals in WHERE".

use events::Timestamp;

/// A query.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Query {
    /// The fields, as they were written; `None`: their number is asked.
    pub(crate) select: Option<Vec<String>>,
    /// The object, as it was written.
    pub(crate) from: String,
    /// Which records.
    pub(crate) filter: Option<Filter>,
    /// In which order.
    pub(crate) order: Vec<Order>,
    /// How many at most.
    pub(crate) limit: Option<usize>,
    /// After how many.
    pub(crate) offset: usize,
}

/// One key of the order.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Order {
    pub(crate) field: String,
    pub(crate) descending: bool,
    pub(crate) nulls_last: bool,
}

/// A condition.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Filter {
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Not(Box<Filter>),
    Compare(String, Operator, Literal),
    /// Field, values, and whether it is none of them.
    In(String, Vec<Literal>, bool),
}

/// A comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A value as it is written.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Literal {
    Text(String),
    Instant(Timestamp),
    /// A day without a time.
    Day(String),
    Bool(bool),
    Number(f64),
    Null,
}

#[derive(Clone, PartialEq, Debug)]
enum Token {
    Word(String),
    Text(String),
    Symbol(&'static str),
}

impl Token {
    fn shown(&self) -> &str {
        match self {
            Self::Word(word) | Self::Text(word) => word,
            Self::Symbol(symbol) => symbol,
        }
    }
}

/// Parses a query.
///
/// # Errors
/// What Salesforce says of a malformed one.
pub(crate) fn parse(text: &str) -> Result<Query, String> {
    let mut parser = Parser { tokens: tokens(text)?, next: 0 };
    let query = parser.query()?;
    match parser.peek() {
        None => Ok(query),
        Some(token) => Err(format!("unexpected token: '{}'", token.shown())),
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    const SYMBOLS: [&str; 10] = ["<=", ">=", "!=", "<>", "(", ")", ",", "=", "<", ">"];
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first.is_whitespace() {
            rest = &rest[first.len_utf8()..];
        } else if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            tokens.push(Token::Symbol(symbol));
            rest = &rest[symbol.len()..];
        } else if first == '\'' {
            let (value, after) = quoted(&rest[1..])?;
            tokens.push(Token::Text(value));
            rest = after;
        } else {
            let in_word = |c: char| c.is_ascii_alphanumeric() || "_.:+-".contains(c);
            let end = rest.find(|c| !in_word(c)).unwrap_or(rest.len());
            if end == 0 {
                let column = text.len() - rest.len();
                return Err(format!("line 1:{column} no viable alternative at character '{first}'"));
            }
            tokens.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        }
    }
    Ok(tokens)
}

/// The text up to the closing quote, and what follows it.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\'' => return Ok((value, &text[at + 1..])),
            '\\' => value.extend(chars.next().map(|(_, escaped)| match escaped {
                'n' => '\n',
                't' => '\t',
                other => other,
            })),
            c => value.push(c),
        }
    }
    Err("line 1:0 mismatched character '<EOF>' expecting '''".into())
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    fn take(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.next += 1;
        token
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Token::Word(next)) if next.eq_ignore_ascii_case(word))
    }

    fn skip_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        self.next += usize::from(found);
        found
    }

    fn skip_symbol(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Symbol(next)) if *next == symbol);
        self.next += usize::from(found);
        found
    }

    fn unexpected<T>(&self) -> Result<T, String> {
        match self.peek() {
            Some(token) => Err(format!("unexpected token: '{}'", token.shown())),
            None => Err("unexpected token: '<EOF>'".into()),
        }
    }

    fn word(&mut self) -> Result<String, String> {
        match self.peek() {
            Some(Token::Word(_)) => Ok(self.take().map(|token| token.shown().to_owned()).unwrap_or_default()),
            _ => self.unexpected(),
        }
    }

    fn expect_word(&mut self, word: &str) -> Result<(), String> {
        if self.skip_word(word) { Ok(()) } else { self.unexpected() }
    }

    fn expect_symbol(&mut self, symbol: &str) -> Result<(), String> {
        if self.skip_symbol(symbol) { Ok(()) } else { self.unexpected() }
    }

    fn query(&mut self) -> Result<Query, String> {
        self.expect_word("SELECT")?;
        let mut fields = vec![self.word()?];
        let select = if fields[0].eq_ignore_ascii_case("COUNT") && self.skip_symbol("(") {
            self.expect_symbol(")")?;
            None
        } else {
            while self.skip_symbol(",") {
                fields.push(self.word()?);
            }
            Some(fields)
        };
        self.expect_word("FROM")?;
        let from = self.word()?;
        let filter = if self.skip_word("WHERE") { Some(self.conditions()?) } else { None };
        let mut order = Vec::new();
        if self.skip_word("ORDER") {
            self.expect_word("BY")?;
            order.push(self.order()?);
            while self.skip_symbol(",") {
                order.push(self.order()?);
            }
        }
        let limit = if self.skip_word("LIMIT") { Some(self.number()?) } else { None };
        let offset = if self.skip_word("OFFSET") { self.number()? } else { 0 };
        Ok(Query { select, from, filter, order, limit, offset })
    }

    fn number(&mut self) -> Result<usize, String> {
        let Some(Token::Word(word)) = self.peek() else { return self.unexpected() };
        let Ok(number) = word.parse() else { return self.unexpected() };
        self.next += 1;
        Ok(number)
    }

    fn order(&mut self) -> Result<Order, String> {
        let field = self.word()?;
        let descending = self.skip_word("DESC");
        if !descending {
            self.skip_word("ASC");
        }
        let mut nulls_last = false;
        if self.skip_word("NULLS") {
            nulls_last = self.skip_word("LAST");
            if !nulls_last {
                self.expect_word("FIRST")?;
            }
        }
        Ok(Order { field, descending, nulls_last })
    }

    fn conditions(&mut self) -> Result<Filter, String> {
        let first = self.condition()?;
        let Some(word) = ["AND", "OR"].into_iter().find(|word| self.is_word(word)) else { return Ok(first) };
        let mut all = vec![first];
        while self.skip_word(word) {
            all.push(self.condition()?);
        }
        // Mixed without parentheses, which Salesforce refuses at the second kind.
        if self.is_word("AND") || self.is_word("OR") {
            return self.unexpected();
        }
        Ok(if word == "AND" { Filter::And(all) } else { Filter::Or(all) })
    }

    fn condition(&mut self) -> Result<Filter, String> {
        if self.skip_word("NOT") {
            return Ok(Filter::Not(Box::new(self.condition()?)));
        }
        if self.skip_symbol("(") {
            let inner = self.conditions()?;
            self.expect_symbol(")")?;
            return Ok(inner);
        }
        let field = self.word()?;
        let negated = self.skip_word("NOT");
        if self.skip_word("IN") {
            self.expect_symbol("(")?;
            let mut values = vec![self.literal()?];
            while self.skip_symbol(",") {
                values.push(self.literal()?);
            }
            self.expect_symbol(")")?;
            return Ok(Filter::In(field, values, negated));
        }
        let operator = match self.peek() {
            Some(Token::Symbol("=")) if !negated => Operator::Equal,
            Some(Token::Symbol("!=" | "<>")) if !negated => Operator::NotEqual,
            Some(Token::Symbol("<")) if !negated => Operator::Less,
            Some(Token::Symbol("<=")) if !negated => Operator::LessOrEqual,
            Some(Token::Symbol(">")) if !negated => Operator::Greater,
            Some(Token::Symbol(">=")) if !negated => Operator::GreaterOrEqual,
            _ => return self.unexpected(),
        };
        self.next += 1;
        Ok(Filter::Compare(field, operator, self.literal()?))
    }

    fn literal(&mut self) -> Result<Literal, String> {
        let literal = match self.peek() {
            Some(Token::Text(text)) => Some(Literal::Text(text.clone())),
            Some(Token::Word(word)) => bare(word),
            _ => None,
        };
        let Some(literal) = literal else { return self.unexpected() };
        self.next += 1;
        Ok(literal)
    }
}

/// A value without quotes.
fn bare(word: &str) -> Option<Literal> {
    match word.to_ascii_lowercase().as_str() {
        "true" => return Some(Literal::Bool(true)),
        "false" => return Some(Literal::Bool(false)),
        "null" => return Some(Literal::Null),
        _ => {}
    }
    if let Some(at) = Timestamp::parse_rfc3339(word) {
        return Some(Literal::Instant(at));
    }
    if word.parse::<jiff::civil::Date>().is_ok() && word.len() == 10 {
        return Some(Literal::Day(word.to_owned()));
    }
    word.parse().ok().filter(|number: &f64| number.is_finite()).map(Literal::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyset_query_is_read_with_its_parentheses() {
        let query = parse(
            "select Id, SystemModstamp from Account where IsDeleted = false and (SystemModstamp > 2026-01-02T03:04:05Z or \
             (SystemModstamp = 2026-01-02T03:04:05.000+00:00 and Id > '001xX0000000001AAA')) \
             order by SystemModstamp asc, Id desc nulls last limit 500 offset 2",
        )
        .expect("well formed");
        let at = Timestamp::parse_rfc3339("2026-01-02T03:04:05Z").expect("well formed");
        let compare = |field: &str, operator, literal| Filter::Compare(field.into(), operator, literal);
        assert_eq!(
            query.filter,
            Some(Filter::And(vec![
                compare("IsDeleted", Operator::Equal, Literal::Bool(false)),
                Filter::Or(vec![
                    compare("SystemModstamp", Operator::Greater, Literal::Instant(at)),
                    Filter::And(vec![
                        compare("SystemModstamp", Operator::Equal, Literal::Instant(at)),
                        compare("Id", Operator::Greater, Literal::Text("001xX0000000001AAA".into())),
                    ]),
                ]),
            ]))
        );
        let order = |field: &str, descending, nulls_last| Order { field: field.into(), descending, nulls_last };
        assert_eq!(query.order, [order("SystemModstamp", false, false), order("Id", true, true)]);
        assert_eq!((query.limit, query.offset), (Some(500), 2));
    }

    #[test]
    fn what_salesforce_refuses_is_malformed() {
        for (query, word) in [
            ("SELECT Id FROM Account WHERE Id = '1' AND Id = '2' OR Id = '3'", "'OR'"),
            ("SELECT Id FROM Account WHERE SystemModstamp >= 2026-01-02T03:04:05 00:00", "'2026-01-02T03:04:05'"),
            ("SELECT FROM Account", "'Account'"),
            ("SELECT Id FROM Account WHERE (Id = '1'", "'<EOF>'"),
            ("SELECT Id FROM Account LIMIT many", "'many'"),
            ("SELECT Id FROM Account WHERE Id == '1'", "'='"),
            ("SELECT Id FROM Account; DROP", "';'"),
        ] {
            let message = parse(query).expect_err("malformed");
            assert!(message.contains(word), "{query}: {message}");
        }
        assert!(parse("SELECT Id FROM Account WHERE Name = 'O\\'Neill").is_err());
    }

    #[test]
    fn quotes_inside_a_text_are_escaped() {
        let query =
            parse("SELECT Id FROM Account WHERE Name IN ('O\\'Neill', 'b') AND NOT Name = null").expect("well formed");
        let Some(Filter::And(all)) = query.filter else { panic!("{query:?}") };
        assert_eq!(
            all[0],
            Filter::In("Name".into(), vec![Literal::Text("O'Neill".into()), Literal::Text("b".into())], false)
        );
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_asked_is_parsed_or_refused(words in proptest::collection::vec(
            "SELECT|FROM|WHERE|AND|OR|NOT|IN|ORDER|BY|LIMIT|Id|=|>=|<>|\\(|\\)|,|'a'|'|2026-01-02T03:04:05Z|\\PC{0,3}", 0..20,
        )) {
            // It says where it failed, or that it did not: it never panics.
            let _ = parse(&words.join(" "));
        }
    }
}
