//! Mining: what it joins, what it keeps apart, and that neither order nor history matters.

use std::collections::BTreeMap;

use lipservice::control_plane::analysis::mining::Miner;
use lipservice::data_plane::pattern::{Catalogue, Kind, Pattern, PatternId, Token, VARIABLE, tokens};
use lipservice::data_plane::signature::{Signature, Signer};
use proptest::prelude::*;

use super::evaluate::{evaluate, sets};

fn mine<'t>(templates: impl IntoIterator<Item = &'t str>) -> Catalogue {
    let mut miner = Miner::new(100_000);
    for template in templates {
        miner.insert(template);
    }
    miner.mine()
}

fn patterns(lines: &[String]) -> Vec<u64> {
    let mut signer = Signer::default();
    let signed: Vec<(Signature, String)> = lines
        .iter()
        .map(|line| (signer.sign_text(line.as_bytes()), signer.template_of_text(line.as_bytes())))
        .collect();
    let catalogue = mine(signed.iter().map(|(_, template)| template.as_str()));
    signed.iter().map(|(signature, template)| catalogue.resolve(*signature, template).0).collect()
}

/// The bars of `docs/patterns.md`.
#[test]
fn mined_patterns_group_real_lines() {
    let sets = sets("mined_patterns_group_real_lines");
    if sets.is_empty() {
        return;
    }
    let report = evaluate(&sets, patterns);
    eprintln!("{report}");
    let mean = report.mean();
    assert!(mean.ga >= 0.95 && mean.fga >= 0.93, "{report}");
}

/// Templates, and in how many patterns they end.
#[test]
fn what_is_joined_and_what_stays_apart() {
    let cases: &[(&str, &[&str], usize)] = &[
        (
            "one constant word is two statements",
            &["session opened for user <*> now", "session closed for user <*> now"],
            2,
        ),
        ("three words are not yet a variable", &["took down a node", "took down b node", "took down c node"], 3),
        ("four are", &["took down a node", "took down b node", "took down c node", "took down d node"], 1),
        (
            "three are, where much is constant",
            &["the user ann was logged in now", "the user bob was logged in now", "the user eve was logged in now"],
            1,
        ),
        ("too little around", &["a ready", "b ready", "c ready", "d ready", "e ready"], 5),
        ("a variable stands there already", &["could not open file <*>", "could not open file pwd"], 1),
        ("two names with separators", &["loading of class a.b.C done", "loading of class d.e.F done"], 2),
        ("three of them", &["loading of class a.b done", "loading of class d.e done", "loading of class g.h done"], 1),
        ("marks are not values", &["x of user - failed", "x of user ? failed"], 2),
        (
            "lists of any length",
            &["profiles are active: a, b", "profiles are active: c, d, e", "profiles are active: f"],
            1,
        ),
        ("repetitions", &["asked to delete blk_<*>", "asked to delete blk_<*> blk_<*> blk_<*>"], 1),
        ("empty brackets", &["connection from <*> () now", "connection from <*> (<*>) now"], 1),
        (
            "two positions that vary together",
            &[
                "task a failed hard with x",
                "task b failed hard with y",
                "task c failed hard with z",
                "task d failed hard with w",
            ],
            1,
        ),
        (
            "texts in quotes",
            &["said \"all is well\" to us", "said \"no\" to us", "said \"it is\" to us", "said \"b\" to us"],
            1,
        ),
    ];
    for (name, templates, expected) in cases {
        let catalogue = mine(templates.iter().copied());
        let mut ids: Vec<PatternId> =
            templates.iter().map(|t| catalogue.find(t).map_or(PatternId::of(t), |pattern| pattern.id)).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), *expected, "{name}: {:?}", catalogue.patterns());
    }
}

#[test]
fn a_template_says_what_its_messages_have_in_common() {
    let words = ["ann", "bob", "eve", "joe"];
    let templates: Vec<String> = words.iter().map(|w| format!("user {w}, from <*>: denied (code <*>)")).collect();
    let catalogue = mine(templates.iter().map(String::as_str));
    assert_eq!(&*catalogue.patterns()[0].template, "user <*>, from <*>: denied (code <*>)");
    assert_eq!(catalogue.patterns()[0].id, PatternId::of("user <*>, from <*>: denied (code <*>)"));
}

#[test]
fn a_wider_template_names_its_parents() {
    let mut miner = Miner::new(100);
    for user in ["ann", "bob", "eve", "joe"] {
        miner.insert(&format!("session of {user} ended by root"));
    }
    let first = miner.mine().patterns()[0].clone();
    assert_eq!((&*first.template, first.parents.len()), ("session of <*> ended by root", 0));
    for by in ["timer", "ann", "kernel", "bob"] {
        miner.insert(&format!("session of <*> ended by {by}"));
    }
    let second = miner.mine().patterns()[0].clone();
    assert_eq!((&*second.template, &second.parents[..]), ("session of <*> ended by <*>", &[first.id][..]));
    assert_eq!(miner.mine().patterns()[0].parents, second.parents, "mining again changes nothing");
}

#[test]
fn memory_is_bounded_and_the_longest_unseen_go_first() {
    let mut miner = Miner::new(4);
    for template in ["kept one", "gone two", "gone three"] {
        miner.insert(template);
    }
    miner.mine();
    for template in ["kept one", "new four", "new five", "new six"] {
        miner.insert(template);
    }
    miner.mine();
    let held: Vec<&str> = miner.templates().collect();
    assert_eq!(held, ["kept one", "new five", "new four", "new six"]);
    assert_eq!(miner.totals().evicted, 2);
    assert!(!miner.insert(&"x ".repeat(4_000)));
    assert_eq!(miner.totals().refused, 1);
}

/// Templates made to send a search down every way: it ends without a match, as `spec/patterns.md` says.
#[test]
fn a_search_ends_after_so_many_steps() {
    let overlapping = |bits: u32, end: &str| -> String {
        (0..13).map(|i| if bits >> i & 1 == 1 { "a " } else { "<*> " }).collect::<String>() + end
    };
    let mut published: Vec<Pattern> = (0..1 << 13).map(|bits| Pattern::new(&overlapping(bits, "end"))).collect();
    published.push(Pattern::new(&overlapping(0, "stop")));
    let catalogue = Catalogue::new(published);
    let found = |template: &str| catalogue.find(template).map(|pattern| pattern.template.to_string());
    assert_eq!(found(&overlapping(!0, "end")), Some(overlapping(!0, "end")));
    assert_eq!(found(&overlapping(!0, "stop")), None, "after 4,096 nodes");
    assert_eq!(found("b c d e f g h i j k l m n stop"), Some(overlapping(0, "stop")));
}

/// Templates that collide often: few words, few lengths.
fn template() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec!["open", "file", "user", "of", "x.y", "w"]).prop_map(str::to_owned),
        2 => Just(VARIABLE.to_owned()),
        1 => prop::sample::select(vec!["(", ")", ",", ":", "\"", "a_<*>", "..", "'", "[]"]).prop_map(str::to_owned),
        2 => "[a-f]",
    ];
    prop::collection::vec((piece, any::<bool>()), 1..9).prop_map(|pieces| {
        let mut text = String::new();
        for (piece, space) in pieces {
            if space || text.ends_with(|c: char| c.is_alphanumeric()) {
                text.push(' ');
            }
            text.push_str(&piece);
        }
        text.trim().to_owned()
    })
}

fn matches(pattern: &[Token], tokens: &[Token]) -> bool {
    pattern.len() == tokens.len()
        && std::iter::zip(pattern, tokens).all(|(p, t)| {
            (p.kind == Kind::Variable && t.kind != Kind::Mark) || (p.kind != Kind::Variable && p.is_same(t))
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Order, repetition, and what was mined between: nothing of it shows.
    #[test]
    fn mining_step_by_step_is_mining_at_once(
        templates in prop::collection::vec(template(), 1..60),
        cut in 0usize..60,
    ) {
        let at_once = mine(templates.iter().map(String::as_str));
        let mut miner = Miner::new(100_000);
        let cut = cut.min(templates.len());
        for part in [&templates[cut..], &templates[..cut], &templates[..]] {
            for template in part.iter().rev() {
                miner.insert(template);
            }
            miner.mine();
        }
        let texts = |catalogue: &Catalogue| -> Vec<_> {
            catalogue.patterns().iter().map(|p| (p.id, p.template.clone(), p.forms.clone())).collect()
        };
        prop_assert_eq!(texts(&miner.mine()), texts(&at_once));
    }

    /// The trie finds what comparing with every template finds.
    #[test]
    fn the_trie_is_as_good_as_trying_every_template(
        published in prop::collection::vec(template(), 0..12),
        asked in prop::collection::vec(template(), 1..12),
    ) {
        let catalogue = Catalogue::new(published.iter().map(|text| Pattern::new(text)).collect());
        for template in asked.iter().chain(&published) {
            let of_message = tokens(template);
            // Literals go before variables at the first difference; then the order of the texts decides.
            let mut best: BTreeMap<(Vec<bool>, &str), &str> = BTreeMap::new();
            for text in &published {
                for of_pattern in [tokens(text), lipservice::data_plane::pattern::plain_tokens(text)] {
                    if matches(&of_pattern, &of_message) {
                        let variables = of_pattern.iter().map(|token| token.kind == Kind::Variable).collect();
                        best.insert((variables, text), text);
                    }
                }
            }
            let naive = best.first_key_value().map(|(_, text)| *text);
            prop_assert_eq!(catalogue.find(template).map(|pattern| &*pattern.template), naive, "{}", template);
        }
    }

    /// Every template that went into a pattern is found again, and what is published reads as it was meant.
    #[test]
    fn what_was_joined_resolves(templates in prop::collection::vec(template(), 1..60)) {
        let catalogue = mine(templates.iter().map(String::as_str));
        for pattern in catalogue.patterns() {
            prop_assert_eq!(catalogue.find(&pattern.template).map(|found| found.id), Some(pattern.id));
            prop_assert_eq!(pattern.id, PatternId::of(&pattern.template));
        }
    }
}
