//! Any text has a template within its bound, the same with and without the instructions that not every processor has.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lipservice::data_plane::signature::Signer;
use lipservice::data_plane::signature::mask::Template;

fuzz_target!(|text: &[u8]| {
    let (mut here, mut anywhere) = (Template::default(), Template::portable());
    here.write(text);
    anywhere.write(text);
    assert_eq!(here.bytes(), anywhere.bytes());
    assert!(here.bytes().len() <= 3 * 1024);
    assert!(std::str::from_utf8(text).is_err() || std::str::from_utf8(here.bytes()).is_ok());
    assert!(!here.bytes().contains(&b'\n') && !here.bytes().starts_with(b" ") && !here.bytes().ends_with(b" "));

    // Telling what varies changes nothing.
    let variables = anywhere.explain(text);
    assert_eq!(here.bytes(), anywhere.bytes());
    assert!(variables.is_empty() || here.bytes().windows(3).any(|three| three == b"<*>"));

    let mut signer = Signer::default();
    let signature = signer.sign_text(text);
    assert_eq!(signer.explain_text(text).0, signature);

    // A signer that knows the text, and one with other digits, signs as one that knows nothing.
    let other: Vec<u8> = text.iter().map(|b| if b.is_ascii_digit() { b'0' + (b - b'0' + 3) % 10 } else { *b }).collect();
    for text in [text, &other, text] {
        let mut fresh = Signer::default();
        assert_eq!(signer.sign_text(text), fresh.sign_text(text));
        assert_eq!(signer.last_template(), fresh.last_template());
    }
});
