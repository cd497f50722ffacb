//! Signatures are what `spec/` says: the vectors hold, and an implementation written from the text alone agrees.
//!
//! `UPDATE_VECTORS=1 cargo test --test all signature` writes templates and signatures of the vectors anew. That a result
//! changes at all means a new version of the specification.

mod memo;

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lipservice::data_plane::signature::mask::Template;
use lipservice::data_plane::signature::{Signature, Signer, VERSION};
use lipservice::data_plane::view::{self, LogIndex};
use proptest::prelude::*;
use serde_json::{Value, json};

fn spec(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("spec").join(name)
}

fn vectors() -> Value {
    serde_json::from_str(&std::fs::read_to_string(spec("signature-vectors.json")).unwrap()).unwrap()
}

fn base64_of(vector: &Value, field: &str) -> Option<Vec<u8>> {
    vector[field].as_str().map(|text| STANDARD.decode(text).unwrap())
}

fn sign(signer: &mut Signer, vector: &Value) -> Signature {
    if let Some(text) = vector["text"].as_str() {
        return signer.sign_text(text.as_bytes());
    }
    if let Some(repeat) = vector["repeat"].as_object() {
        let times = usize::try_from(repeat["times"].as_u64().unwrap()).unwrap();
        let text = repeat["text"].as_str().unwrap().repeat(times) + repeat["then"].as_str().unwrap();
        return signer.sign_text(text.as_bytes());
    }
    if let Some(text) = base64_of(vector, "text_base64") {
        return signer.sign_text(&text);
    }
    let request = json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": [vector["record"]] }] }] });
    let bytes = view::json::decode(request.to_string().as_bytes()).unwrap();
    let mut index = LogIndex::default();
    index.read(&bytes).unwrap();
    signer.sign(index.record(&bytes, 0))
}

#[test]
fn the_vectors_hold() {
    let mut document = vectors();
    assert_eq!(document["version"], VERSION);
    let mut signer = Signer::default();
    let update = std::env::var_os("UPDATE_VECTORS").is_some();
    let list = document["vectors"].as_array_mut().unwrap();
    assert!(list.len() >= 300, "{} vectors", list.len());
    for vector in list {
        let signature = sign(&mut signer, vector).to_string();
        let template = signer.last_template();
        if update {
            let (field, text) = match std::str::from_utf8(template) {
                Ok(text) => ("template", text.to_owned()),
                Err(_) => ("template_base64", STANDARD.encode(template)),
            };
            vector["signature"] = signature.into();
            vector[field] = text.into();
            continue;
        }
        let expected =
            base64_of(vector, "template_base64").unwrap_or_else(|| vector["template"].as_str().unwrap().into());
        assert_eq!(String::from_utf8_lossy(template), String::from_utf8_lossy(&expected), "{vector}");
        assert_eq!(template, expected, "{vector}");
        assert_eq!(signature, vector["signature"].as_str().unwrap(), "{vector}");
    }
    if update {
        let text = serde_json::to_string_pretty(&document).unwrap() + "\n";
        std::fs::write(spec("signature-vectors.json"), text).unwrap();
    }
}

#[test]
fn an_implementation_from_the_text_alone_agrees() {
    match Command::new("python3").arg(spec("check_signature.py")).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        }
        Err(error) => eprintln!("SKIPPED an_implementation_from_the_text_alone_agrees: python3 does not run: {error}"),
    }
}

/// Lines made of what the rules ask for, in any order; the same in every run.
fn made_up_lines(count: usize) -> Vec<Vec<u8>> {
    const PIECES: &str = "a b user NAME for from to by of in queue job (x) [y] <none> ( ) [] () {} , ; : = == | & . .. / \\ @ - -- + _ # % \
        ~ ! ? ^ $ * < > \" ' ` 12 0x1f 3.5 -7 ms s KB true null root Error FooError a=b a= http://x.y/z?q=1, /usr/lib C:\\x a@b.c \
        fe80::1 Foo::bar ab:12 name:val url:/a?c=d 10.0.0.1:80 1,2 a_b A_b the is via GET \"GET /x\" \"k\": don't µs é foo-bar started";
    let pieces: Vec<&str> = PIECES.split_whitespace().collect();
    let mut state = 1u64;
    let mut draw = move |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    let mut line = || {
        let mut line = Vec::new();
        for _ in 0..1 + draw(14) {
            line.extend_from_slice(pieces[draw(pieces.len())].as_bytes());
            match draw(20) {
                0..11 => line.push(b' '),
                11 => line.extend_from_slice(b"  "),
                12 => line.push(u8::try_from(draw(0x100)).unwrap()),
                _ => {}
            }
        }
        line.retain(|&b| b != b'\n');
        line
    };
    (0..count).map(|_| line()).collect()
}

#[test]
fn both_implementations_agree_on_any_line() {
    use std::io::Write as _;
    let mut lines = made_up_lines(5_000);
    for set in super::patterns::evaluate::sets("both_implementations_agree_on_any_line (real lines)") {
        lines.extend(set.lines.iter().step_by(4).map(|line| line.replace('\n', " ").into_bytes()));
    }
    let mut input = tempfile::tempfile().unwrap();
    lines.iter().for_each(|line| input.write_all(&[line, &b"\n"[..]].concat()).unwrap());
    std::io::Seek::rewind(&mut input).unwrap();
    let output = Command::new("python3").arg(spec("check_signature.py")).arg("--lines").stdin(input).output();
    let Ok(output) = output else {
        eprintln!("SKIPPED both_implementations_agree_on_any_line: python3 does not run");
        return;
    };
    let mut signer = Signer::default();
    let said: Vec<&[u8]> = output.stdout.split(|&b| b == b'\n').collect();
    assert_eq!(said.len(), lines.len() + 1, "{}", String::from_utf8_lossy(&output.stderr));
    for (line, said) in lines.iter().zip(said) {
        let ours = [signer.sign_text(line).to_string().as_bytes(), b"\t", signer.last_template()].concat();
        let show = String::from_utf8_lossy;
        assert!(ours == said, "{:?} is {:?}, not {:?}", show(line), show(&ours), show(said));
    }
}

#[test]
fn every_processor_writes_the_same() {
    let (mut here, mut anywhere) = (Template::default(), Template::portable());
    let lines = made_up_lines(20_000);
    // Each length, so that each end of a block is met, in a buffer that ends where the line does.
    let text = lines.concat();
    let lengths = (0..1200).map(|len| text[len * 7..len * 8].to_vec());
    for line in lengths.chain(lines.iter().cloned()).map(Vec::into_boxed_slice) {
        here.write(&line);
        anywhere.write(&line);
        assert!(here.bytes() == anywhere.bytes(), "{:?}", String::from_utf8_lossy(&line));
    }
}

proptest! {
    #[test]
    fn any_text_has_a_bounded_template(text in proptest::collection::vec(any::<u8>(), 0..3000)) {
        let mut signer = Signer::default();
        let signature = signer.sign_text(&text);
        prop_assert!(signer.last_template().len() <= 3 * 1024);
        prop_assert_eq!(Signer::default().sign_text(&text), signature, "a signer keeps nothing between texts");
    }

    #[test]
    fn dense_text_stays_within_bounds(text in "([0-9a][=:(&!\"'/@ ]?|[(]1|a=;|:\"\"){0,600}") {
        let mut signer = Signer::default();
        signer.sign_text(text.as_bytes());
        prop_assert!(signer.last_template().len() <= 3 * 1024);
    }

    #[test]
    fn numbers_do_not_matter(a in 0..u32::MAX, b in 0..u32::MAX) {
        let mut signer = Signer::default();
        let text = |n: u32| format!("request {n} of user u{n} took {n}.{n} ms, host=h{n}");
        prop_assert_eq!(signer.sign_text(text(a).as_bytes()), signer.sign_text(text(b).as_bytes()));
    }

    #[test]
    fn valid_utf8_stays_valid(text in "\\PC{0,900}") {
        let mut signer = Signer::default();
        signer.sign_text(text.as_bytes());
        prop_assert!(std::str::from_utf8(signer.last_template()).is_ok());
    }
}
