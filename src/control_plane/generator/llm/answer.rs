//! What a model answers: the form it must have, and what of it counts.
//!
//! Purpose: the JSON schema of an answer, and the reading of one, which may be anything.
//! Promises: total; a score outside 0 to 10, an ordinal that was not asked, one answered twice in different ways, and an
//! entry of the wrong form count for nothing and are counted; the rest of the answer stands. Reasons come out quoted
//! and bounded. The schemas obey OpenAI's strict mode.
//! Never: clamps a wrong score into a right one.

use serde_json::{Map, Value, json};

use super::config::AnswerDetail;
use super::facts::Category;
use super::quote::quote;

const MAX_REASON_CHARS: usize = 160;
/// Entries looked at for each one asked; an answer with more is not read on.
const MAX_ENTRIES_PER_LINE: usize = 3;

/// One score.
#[derive(Clone, Debug, PartialEq)]
pub struct Vote {
    /// 0 to 10.
    pub score: u8,
    /// Kind of message.
    pub category: Category,
    /// Why, made harmless.
    pub reason: String,
}

/// Entries that count for nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Discarded {
    /// Ordinals that were not asked.
    pub unknown: u64,
    /// Ordinals answered in different ways.
    pub contradictory: u64,
    /// Scores outside 0 to 10.
    pub out_of_range: u64,
    /// Entries of another form.
    pub malformed: u64,
}

impl Discarded {
    /// Counts by name.
    pub fn by_reason(&self) -> [(&'static str, u64); 4] {
        [
            ("unknown_ordinal", self.unknown),
            ("contradictory", self.contradictory),
            ("out_of_range", self.out_of_range),
            ("malformed", self.malformed),
        ]
    }
}

/// An answer as read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// By ordinal, from 1 at index 0.
    pub votes: Vec<Option<Vote>>,
    /// What did not count.
    pub discarded: Discarded,
}

/// The schema of an answer about `count` lines. Reasons come before scores: a model writes in this order.
pub fn schema(detail: AnswerDetail, count: usize) -> Value {
    let scores: Vec<u8> = (0..=10).collect();
    match detail {
        AnswerDetail::Full => {
            let categories: Vec<&str> = Category::ALL.iter().map(|(_, name, _)| *name).collect();
            let entry = json!({
                "type": "object",
                "properties": {
                    "n": {"type": "integer"},
                    "reason": {"type": "string"},
                    "category": {"type": "string", "enum": categories},
                    "worth": {"type": "integer", "enum": scores},
                },
                "required": ["n", "reason", "category", "worth"],
                "additionalProperties": false,
            });
            json!({
                "type": "object",
                "properties": {"scores": {"type": "array", "items": entry}},
                "required": ["scores"],
                "additionalProperties": false,
            })
        }
        AnswerDetail::ScoreOnly => {
            let ordinals: Vec<String> = (1..=count).map(|ordinal| ordinal.to_string()).collect();
            let entry = json!({"type": "integer", "enum": scores});
            let properties: Map<String, Value> =
                ordinals.iter().map(|ordinal| (ordinal.clone(), entry.clone())).collect();
            json!({
                "type": "object",
                "properties": properties,
                "required": ordinals,
                "additionalProperties": false,
            })
        }
    }
}

/// Tokens that an answer about `count` lines takes at most, estimated.
pub fn expected_tokens(detail: AnswerDetail, count: usize) -> u64 {
    let each = match detail {
        AnswerDetail::Full => 80,
        AnswerDetail::ScoreOnly => 8,
    };
    32 + each * count as u64
}

/// Reads an answer about `count` lines; `None` when it is no answer at all.
pub fn read(text: &str, detail: AnswerDetail, count: usize) -> Option<Answer> {
    let value = parse(text)?;
    let mut answer = Answer { votes: vec![None; count], discarded: Discarded::default() };
    let entries: Vec<(Option<u64>, Option<Vote>, bool)> = match detail {
        AnswerDetail::Full => {
            let list = value.get("scores")?.as_array()?;
            list.iter().take(limit(count)).map(full_entry).collect()
        }
        AnswerDetail::ScoreOnly => {
            let map = value.as_object()?;
            map.iter().take(limit(count)).map(|(key, score)| score_entry(key, score)).collect()
        }
    };
    let mut contradicted = vec![false; count];
    for (ordinal, vote, in_range) in entries {
        let index = ordinal.and_then(|ordinal| usize::try_from(ordinal).ok()?.checked_sub(1)).filter(|at| *at < count);
        match (ordinal, index, vote) {
            (None, _, _) => answer.discarded.malformed += 1,
            (Some(_), None, _) => answer.discarded.unknown += 1,
            (_, Some(_), None) if !in_range => answer.discarded.out_of_range += 1,
            (_, Some(_), None) => answer.discarded.malformed += 1,
            (_, Some(at), Some(vote)) => match &answer.votes[at] {
                Some(earlier) if earlier.score != vote.score => contradicted[at] = true,
                Some(_) => {}
                None => answer.votes[at] = Some(vote),
            },
        }
    }
    for (vote, contradicted) in answer.votes.iter_mut().zip(contradicted) {
        if contradicted {
            *vote = None;
            answer.discarded.contradictory += 1;
        }
    }
    Some(answer)
}

fn limit(count: usize) -> usize {
    count.saturating_mul(MAX_ENTRIES_PER_LINE).max(8)
}

/// JSON, or the JSON object in the middle of talk.
fn parse(text: &str) -> Option<Value> {
    let text = text.trim();
    let inner = || text.get(text.find('{')?..=text.rfind('}')?);
    serde_json::from_str(text).ok().or_else(|| serde_json::from_str(inner()?).ok())
}

/// A score and whether it is in range; a whole number in another notation (`7.0`, `"7"`) is none in strict mode, but
/// servers without it write such.
fn score(value: &Value) -> (Option<u8>, bool) {
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
    match number {
        Some(number) if number.fract() == 0.0 && (0.0..=10.0).contains(&number) => (Some(number as u8), true),
        Some(number) => (None, (0.0..=10.0).contains(&number)),
        None => (None, true),
    }
}

fn full_entry(entry: &Value) -> (Option<u64>, Option<Vote>, bool) {
    let (score, in_range) = score(&entry["worth"]);
    let category = entry["category"].as_str().and_then(Category::named).unwrap_or_default();
    let reason = quote(entry["reason"].as_str().unwrap_or_default(), MAX_REASON_CHARS);
    (entry["n"].as_u64(), score.map(|score| Vote { score, category, reason }), in_range)
}

fn score_entry(key: &str, value: &Value) -> (Option<u64>, Option<Vote>, bool) {
    let (score, in_range) = score(value);
    let vote = score.map(|score| Vote { score, category: Category::Other, reason: String::new() });
    (key.parse().ok(), vote, in_range)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scores(answer: &Answer) -> Vec<Option<u8>> {
        answer.votes.iter().map(|vote| vote.as_ref().map(|vote| vote.score)).collect()
    }

    #[test]
    fn what_counts_and_what_does_not() {
        let entry = |n: i64, worth: &str| format!(r#"{{"n":{n},"reason":"r","category":"request","worth":{worth}}}"#);
        let answer = |entries: &[String]| format!(r#"{{"scores":[{}]}}"#, entries.join(","));
        let d = Discarded::default();
        #[rustfmt::skip]
        let table = [
            (answer(&[entry(1, "3"), entry(2, "0")]), vec![Some(3), Some(0)], d),
            (answer(&[entry(2, "10"), entry(1, "\"4\"")]), vec![Some(4), Some(10)], d),
            (answer(&[entry(1, "7.0")]), vec![Some(7), None], d),
            (format!("Sure! ```json\n{}\n``` Hope it helps.", answer(&[entry(1, "3")])), vec![Some(3), None], d),
            (answer(&[entry(3, "3"), entry(0, "3"), entry(1, "1")]), vec![Some(1), None], Discarded { unknown: 2, ..d }),
            (answer(&[entry(-1, "3")]), vec![None, None], Discarded { malformed: 1, ..d }),
            (answer(&[entry(1, "3"), entry(1, "9"), entry(1, "3")]), vec![None, None], Discarded { contradictory: 1, ..d }),
            (answer(&[entry(1, "3"), entry(1, "3")]), vec![Some(3), None], d),
            (answer(&[entry(1, "11"), entry(2, "-1")]), vec![None, None], Discarded { out_of_range: 2, ..d }),
            (answer(&[entry(1, "1e300"), entry(2, "2")]), vec![None, Some(2)], Discarded { out_of_range: 1, ..d }),
            (answer(&[entry(1, "null"), entry(2, "[3]")]), vec![None, None], Discarded { malformed: 2, ..d }),
            (answer(&["7".into(), "null".into(), entry(2, "2")]), vec![None, Some(2)], Discarded { malformed: 2, ..d }),
            (answer(&[entry(1, "2.5")]), vec![None, None], Discarded { malformed: 1, ..d }),
            (answer(&[]), vec![None, None], d),
        ];
        for (text, votes, discarded) in table {
            let answer = read(&text, AnswerDetail::Full, 2).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((scores(&answer), answer.discarded), (votes, discarded), "{text}");
        }
        for text in ["", "no", "[]", "{}", "{\"scores\":3}", "{\"scores\":[{\"n\":1,\"wor", "null", "{\"scores\":"] {
            assert_eq!(read(text, AnswerDetail::Full, 2), None, "{text}");
        }
    }

    #[test]
    fn scores_alone() {
        let answer = read(r#"{"1":4,"2":"x","3":11,"4":1,"x":2}"#, AnswerDetail::ScoreOnly, 3).unwrap();
        assert_eq!(scores(&answer), [Some(4), None, None]);
        assert_eq!(answer.discarded, Discarded { unknown: 1, out_of_range: 1, malformed: 2, contradictory: 0 });
        assert_eq!(schema(AnswerDetail::ScoreOnly, 2)["required"], json!(["1", "2"]));
    }

    #[test]
    fn reasons_are_made_harmless_and_categories_known() {
        let text = r#"{"scores":[{"n":1,"reason":"<script>\u001b[31m\n```x","category":"made_up","worth":1}]}"#;
        let answer = read(text, AnswerDetail::Full, 1).unwrap();
        let vote = answer.votes[0].clone().unwrap();
        assert_eq!((vote.reason.as_str(), vote.category), ("\u{2039}script\u{203a} (31m ''x", Category::Other));
        for (category, name, _) in Category::ALL {
            assert_eq!((Category::named(name), category.label()), (Some(category), name));
        }
    }

    proptest! {
        #[test]
        fn anything_can_be_read(text in "\\PC{0,200}", count in 0usize..5) {
            for detail in [AnswerDetail::Full, AnswerDetail::ScoreOnly] {
                if let Some(answer) = read(&text, detail, count) {
                    prop_assert_eq!(answer.votes.len(), count);
                }
            }
        }
    }
}
