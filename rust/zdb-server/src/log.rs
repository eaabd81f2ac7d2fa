//! Log lines: one JSON object a line on standard error, as every part of the house writes them.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// What a line is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something happened as it should.
    Info,
    /// Something is off, and the server goes on.
    Warning,
    /// Something failed and somebody should look.
    Error,
}

impl Level {
    const fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// The value of a field.
#[derive(Clone, Copy, Debug)]
pub enum Field<'a> {
    /// A text, which must be no secret.
    Text(&'a str),
    /// A number.
    Number(u64),
}

/// Write a line; what cannot be written is lost, for nobody is left to tell.
pub fn write(level: Level, event: &str, fields: &[(&str, Field<'_>)]) {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs());
    let text = line(now, level, event, fields);
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// An object under way, for the tools' answers.
#[derive(Debug)]
pub struct Json(String);

impl Json {
    /// An object whose first field says what it is.
    #[must_use]
    pub fn new(kind: &str) -> Self {
        Self("{\"kind\":".to_owned()).quoted(kind)
    }

    fn quoted(mut self, value: &str) -> Self {
        quote(&mut self.0, value);
        self
    }

    fn named(mut self, name: &str) -> Self {
        self.0.push(',');
        quote(&mut self.0, name);
        self.0.push(':');
        self
    }

    /// With a text.
    #[must_use]
    pub fn text(self, name: &str, value: &str) -> Self {
        self.named(name).quoted(value)
    }

    /// With a number.
    #[must_use]
    pub fn number(self, name: &str, value: u64) -> Self {
        let mut text = self.named(name);
        let _ = write!(text.0, "{value}");
        text
    }

    /// With a truth.
    #[must_use]
    pub fn flag(self, name: &str, value: bool) -> Self {
        let mut text = self.named(name);
        let _ = write!(text.0, "{value}");
        text
    }

    /// The whole, on a line of its own.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{}}}\n", self.0)
    }
}

/// Write plain text for a person who asked for it.
pub fn say(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

fn line(now: u64, level: Level, event: &str, fields: &[(&str, Field<'_>)]) -> String {
    let mut text = String::with_capacity(160);
    let _ = write!(
        text,
        "{{\"at\":\"{}\",\"level\":\"{}\",\"part\":\"zdb\",",
        moment(now),
        level.word()
    );
    text.push_str("\"event\":");
    quote(&mut text, event);
    for (name, value) in fields {
        text.push(',');
        quote(&mut text, name);
        text.push(':');
        match value {
            Field::Text(value) => quote(&mut text, value),
            Field::Number(value) => {
                let _ = write!(text, "{value}");
            }
        }
    }
    text.push_str("}\n");
    text
}

fn quote(text: &mut String, value: &str) {
    text.push('"');
    for character in value.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            c if c.is_control() => {
                let _ = write!(text, "\\u{:04x}", c as u32);
            }
            c => text.push(c),
        }
    }
    text.push('"');
}

/// Seconds since 1970 as RFC 3339 in UTC.
fn moment(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days are counted from March 1 of year 0, so that a leap day is the last of its year.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_civil_dates() {
        assert_eq!(moment(0), "1970-01-01T00:00:00Z");
        assert_eq!(moment(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(moment(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(moment(4_107_542_400), "2100-03-01T00:00:00Z");
    }

    #[test]
    fn a_line_is_one_json_object_whatever_strangers_put_into_it() {
        let fields = [
            ("name", Field::Text("a\"\n\\\u{7f}")),
            ("port", Field::Number(9900)),
        ];
        assert_eq!(
            line(0, Level::Info, "listening", &fields),
            "{\"at\":\"1970-01-01T00:00:00Z\",\"level\":\"info\",\"part\":\"zdb\",\"event\":\"listening\",\
             \"name\":\"a\\\"\\u000a\\\\\\u007f\",\"port\":9900}\n"
        );
    }
}
