//! Any bytes: the index refuses them, or its spans describe them and splicing keeps its promises.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lipservice::data_plane::view::{Action, AnyValueRef, LogIndex, SplicePlan};

/// Touches everything a matcher could.
fn walk(value: AnyValueRef<'_>, depth: u32) {
    if depth == 0 {
        return;
    }
    value.as_str();
    value.elements().for_each(|element| walk(element, depth - 1));
    value.entries().for_each(|entry| walk(entry.value(), depth - 1));
}

fuzz_target!(|bytes: &[u8]| {
    // The first byte chooses which records stay.
    let Some((&choice, request)) = bytes.split_first() else { return };
    let mut index = LogIndex::default();
    let mut seen = 0;
    if index.parse(request, |_| seen += 1).is_err() {
        return;
    }
    assert_eq!(seen, index.records.len());

    let mut end_of_last = 0;
    for span in &index.records {
        assert!(end_of_last <= span.field.start && span.field.start < span.payload.start);
        assert!(span.payload.start <= span.payload.end && span.payload.end == span.field.end);
        end_of_last = span.field.end;
    }
    assert!(end_of_last as usize <= request.len());
    for i in 0..index.records.len() {
        let record = index.record(request, i);
        if let Some(body) = record.body() {
            walk(body, 8);
        }
        record.attributes().for_each(|entry| walk(entry.value(), 8));
        index.scope_of(request, record.span).attributes().for_each(|entry| walk(entry.value(), 8));
        index.resource_of(request, record.span).attributes().for_each(|entry| walk(entry.value(), 8));
        let _ = (record.span_id(), record.threshold(), record.randomness());
    }

    let mut plan = SplicePlan::default();
    plan.actions.resize(index.records.len(), Action::Keep);
    let mut whole = Vec::new();
    plan.write(request, &index, &mut whole);
    assert_eq!(whole, request);

    let stays = |i: usize| choice >> (i % 8) & 1 == 1;
    for (i, action) in plan.actions.iter_mut().enumerate() {
        *action = if stays(i) { Action::Keep } else { Action::Drop };
    }
    let mut part = Vec::new();
    plan.write(request, &index, &mut part);
    let mut after = LogIndex::default();
    assert_eq!(after.read(&part), Ok(()));
    let kept = (0..index.records.len()).filter(|&i| stays(i)).map(|i| index.record(request, i).payload());
    assert!((0..after.records.len()).map(|i| after.record(&part, i).payload()).eq(kept));
});
