//! SPDX licence expressions: `AND`, `OR`, `WITH`, parentheses, and cargo's older `/` for `OR`.

use anyhow::{Result, bail};

/// A parsed licence expression.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Expression {
    /// A licence, with its exception where it has one: `GPL-2.0 WITH Classpath-exception-2.0`.
    Licence(String),
    /// All of them bind.
    All(Vec<Expression>),
    /// The user chooses one.
    Any(Vec<Expression>),
}

impl Expression {
    /// Parses an expression; `AND` binds closer than `OR`.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let spaced = text.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
        let words: Vec<&str> = spaced.split_whitespace().collect();
        let mut parser = Parser { words: &words };
        let expression = parser.any()?;
        match parser.words.first() {
            Some(word) => bail!("unexpected `{word}`"),
            None => Ok(expression),
        }
    }

    /// Whether the expression can be met with licences for which `allowed` answers true.
    pub(super) fn holds(&self, allowed: &impl Fn(&str) -> bool) -> bool {
        match self {
            Self::Licence(licence) => allowed(licence),
            Self::All(parts) => parts.iter().all(|part| part.holds(allowed)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(allowed)),
        }
    }
}

struct Parser<'a> {
    words: &'a [&'a str],
}

impl Parser<'_> {
    fn take(&mut self, word: &str) -> bool {
        let taken = self.words.first() == Some(&word);
        if taken {
            self.words = &self.words[1..];
        }
        taken
    }

    fn any(&mut self) -> Result<Expression> {
        let mut parts = vec![self.all()?];
        while self.take("OR") {
            parts.push(self.all()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expression::Any(parts) })
    }

    fn all(&mut self) -> Result<Expression> {
        let mut parts = vec![self.one()?];
        while self.take("AND") {
            parts.push(self.one()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expression::All(parts) })
    }

    fn one(&mut self) -> Result<Expression> {
        if self.take("(") {
            let inner = self.any()?;
            if !self.take(")") {
                bail!("a parenthesis is not closed");
            }
            return Ok(inner);
        }
        let mut licence = self.identifier()?;
        if self.take("WITH") {
            licence.push_str(" WITH ");
            licence.push_str(&self.identifier()?);
        }
        Ok(Expression::Licence(licence))
    }

    fn identifier(&mut self) -> Result<String> {
        match self.words.first() {
            None => bail!("it ends too early"),
            Some(word) if ["AND", "OR", "WITH", "(", ")"].contains(word) => {
                bail!("`{word}` stands where a licence should")
            }
            Some(word) => {
                self.words = &self.words[1..];
                Ok((*word).to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn and_binds_closer_than_or() {
        let licence = |name: &str| Expression::Licence(name.to_owned());
        let sum = || Expression::All(vec![licence("B"), licence("C WITH d")]);
        let parsed = Expression::parse("A OR B AND C WITH d").unwrap();
        assert_eq!(parsed, Expression::Any(vec![licence("A"), sum()]));
        let parsed = Expression::parse("(A/E) AND (B AND C WITH d)").unwrap();
        let choice = Expression::Any(vec![licence("A"), licence("E")]);
        assert_eq!(parsed, Expression::All(vec![choice, sum()]));
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        for text in ["", "A OR", "OR A", "(A", "A)", "A B", "A WITH", "A AND ()"] {
            assert!(Expression::parse(text).is_err(), "{text}");
        }
    }
}
