//! Patterns of names, such as `run:{run}:output:{variation}`, and texts made of what they caught.
//!
//! A placeholder catches one or more characters other than `:`. Redis is asked by a glob, which lets more
//! through; what fits is decided here.

use serde_json::Value;

/// The longest pattern.
const PATTERN_BYTES_MAX: usize = 512;
/// The most placeholders of one.
const PLACEHOLDERS_MAX: usize = 16;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Placeholder(String),
}

/// A pattern of names, or a text with places to fill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    text: String,
    parts: Vec<Part>,
}

/// What the placeholders of a name caught.
pub(super) type Caught = Vec<(String, String)>;

impl Template {
    /// Reads a template.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("{text:?} {what}");
        if text.is_empty() || text.len() > PATTERN_BYTES_MAX {
            return Err(wrong(&format!("must have 1 to {PATTERN_BYTES_MAX} bytes")));
        }
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            let (literal, behind) = rest.split_at(at);
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.to_owned()));
            }
            let name = behind.strip_prefix('{').and_then(|behind| behind.split_once('}'));
            let Some((name, behind)) = name else {
                return Err(wrong("has a brace without its other one"));
            };
            let is_allowed = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-');
            if name.is_empty() || !name.chars().all(is_allowed) {
                return Err(wrong(&format!("has the placeholder {{{name}}}, which is no name")));
            }
            parts.push(Part::Placeholder(name.to_owned()));
            rest = behind;
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        let is_placeholder = |part: &Part| matches!(part, Part::Placeholder(_));
        if parts.iter().filter(|part| is_placeholder(part)).count() > PLACEHOLDERS_MAX {
            return Err(wrong(&format!("has more than {PLACEHOLDERS_MAX} placeholders")));
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// As [`Self::parse`], for names that are matched: each placeholder must have an end.
    pub(super) fn parse_pattern(text: &str) -> Result<Self, String> {
        let pattern = Self::parse(text)?;
        let is_placeholder = |part: &Part| matches!(part, Part::Placeholder(_));
        if pattern.parts.windows(2).any(|two| two.iter().all(is_placeholder)) {
            return Err(format!("{text:?} has two placeholders with nothing between them"));
        }
        Ok(pattern)
    }

    /// As it was written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is a name of one thing only.
    pub(super) fn is_fixed(&self) -> bool {
        !self.parts.iter().any(|part| matches!(part, Part::Placeholder(_)))
    }

    /// What Redis is asked by.
    pub(super) fn glob(&self) -> String {
        let mut glob = String::new();
        for part in &self.parts {
            match part {
                Part::Placeholder(_) => glob.push('*'),
                Part::Literal(literal) => {
                    for c in literal.chars() {
                        if matches!(c, '*' | '?' | '[' | ']' | '\\') {
                            glob.push('\\');
                        }
                        glob.push(c);
                    }
                }
            }
        }
        glob
    }

    /// What the placeholders catch of a name, if it fits.
    pub(super) fn matches(&self, name: &str) -> Option<Caught> {
        let mut caught = Caught::new();
        fits(&self.parts, name, &mut caught).then_some(caught)
    }

    /// The text with every place filled; the error is the name of what is not known.
    pub(super) fn fill(&self, find: impl Fn(&str) -> Option<Value>) -> Result<String, String> {
        let mut filled = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(literal) => filled.push_str(literal),
                Part::Placeholder(name) => {
                    filled.push_str(&plain(&find(name).ok_or_else(|| name.clone())?));
                }
            }
        }
        Ok(filled)
    }

    /// As [`Self::fill`]; of a template that is one place only, what is there as it is.
    pub(super) fn value(&self, find: impl Fn(&str) -> Option<Value>) -> Result<Value, String> {
        match &self.parts[..] {
            [Part::Placeholder(name)] => find(name).ok_or_else(|| name.clone()),
            _ => self.fill(find).map(Value::String),
        }
    }
}

fn fits(parts: &[Part], name: &str, caught: &mut Caught) -> bool {
    match parts {
        [] => name.is_empty(),
        [Part::Literal(literal), rest @ ..] => {
            name.strip_prefix(literal.as_str()).is_some_and(|name| fits(rest, name, caught))
        }
        [Part::Placeholder(key), rest @ ..] => {
            let end = name.find(':').unwrap_or(name.len());
            // The longest first, as a person reads it.
            for at in (1..=end).rev().filter(|at| name.is_char_boundary(*at)) {
                caught.push((key.clone(), name[..at].to_owned()));
                if fits(rest, &name[at..], caught) {
                    return true;
                }
                caught.pop();
            }
            false
        }
    }
}

/// A value as text has it.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What is at a path of names with dots between them.
pub(super) fn at_path<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, name| value.get(name)).filter(|value| !value.is_null())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pattern(text: &str) -> Template {
        Template::parse_pattern(text).unwrap()
    }

    fn caught(text: &str, name: &str) -> Option<Vec<String>> {
        let caught = pattern(text).matches(name)?;
        Some(caught.into_iter().map(|(name, text)| format!("{name}={text}")).collect())
    }

    #[test]
    fn a_name_fits_as_it_is_written_and_not_as_redis_globs() {
        let channel = "run:{run}:output:{variation}";
        assert_eq!(pattern(channel).glob(), "run:*:output:*");
        assert_eq!(caught(channel, "run:a:output:v1").unwrap(), ["run=a", "variation=v1"]);
        for other in ["run:a:output:", "run::output:v", "run:a:b:output:v", "run:a:output:v:w", "x"]
        {
            assert_eq!(caught(channel, other), None, "{other}");
        }
        assert_eq!(caught("{a}-{b}.log", "x-y-z.log").unwrap(), ["a=x-y", "b=z"]);
        assert_eq!(caught("übung:{run}", "übung:ä").unwrap(), ["run=ä"]);
        assert_eq!(pattern("a*[b]?:{run}").glob(), "a\\*\\[b\\]\\?:*");
        assert!(pattern("events").is_fixed() && !pattern(channel).is_fixed());
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_its_text() {
        for wrong in ["", "a{", "a}b", "{}", "{a b}", "{a}{b}"] {
            assert!(Template::parse_pattern(wrong).is_err(), "{wrong}");
        }
        assert!(Template::parse("{a}{b}").is_ok(), "it is filled, not matched");
        assert!(Template::parse(&"x".repeat(PATTERN_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn places_are_filled_and_a_lone_one_keeps_its_kind() {
        let message = json!({"a": {"b": 5}, "text": "t", "none": null});
        let find = |name: &str| at_path(&message, name).cloned();
        let filled = |text: &str| Template::parse(text).unwrap().fill(find);
        assert_eq!(filled("x-{a.b}-{text}"), Ok("x-5-t".to_owned()));
        assert_eq!(filled("{none}"), Err("none".to_owned()));
        assert_eq!(Template::parse("{a}").unwrap().value(find), Ok(json!({"b": 5})));
        assert_eq!(Template::parse("x{a.b}").unwrap().value(find), Ok(json!("x5")));
    }
}
