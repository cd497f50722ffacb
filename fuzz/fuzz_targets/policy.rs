//! Any text as a policy document: refused or compiled, then applied to a request that has a bit of everything.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use lipservice::data_plane::policy::{CompiledPolicy, Document};
use lipservice::data_plane::view::{LogIndex, json};

const NOW: u64 = 1_700_000_000_000_000_000;

static REQUEST: LazyLock<Vec<u8>> =
    LazyLock::new(|| json::decode(include_bytes!("../request.json")).expect("the request is valid"));

fuzz_target!(|bytes: &[u8]| {
    let Ok(documents) = Document::parse("fuzz", bytes) else { return };
    let first = CompiledPolicy::compile(&documents, NOW, None);
    let kept = first.apply_to_request(&REQUEST, NOW, || 1 << 55).expect("the request is valid");
    let mut index = LogIndex::default();
    assert_eq!(index.read(&kept), Ok(()));
    json::encode(&kept, &mut Vec::new()).expect("what was kept is a request");
    if first.is_empty() {
        assert_eq!(kept, *REQUEST);
    }
    // A reload with the same documents changes nothing but that counters go on.
    let second = CompiledPolicy::compile(&documents, NOW, Some(&first));
    assert_eq!((second.len(), second.problems()), (first.len(), first.problems()));
    assert_eq!(second.stats().len(), first.stats().len());
});
