//! Any bytes, as OTLP JSON and as protobuf: refused, or translated to a fixed point.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lipservice::data_plane::view::json;

type Read = fn(&[u8]) -> Result<Vec<u8>, json::JsonError>;
type Write = fn(&[u8], &mut Vec<u8>) -> Result<(), lipservice::data_plane::view::ViewError>;

fuzz_target!(|bytes: &[u8]| {
    let signals: [(Read, Write); 3] = [
        (json::decode, json::encode),
        (json::decode_traces, json::encode_traces),
        (json::decode_metrics, json::encode_metrics),
    ];
    let Some((&choice, bytes)) = bytes.split_first() else { return };
    let (read, write) = signals[choice as usize % 3];
    if let Ok(protobuf) = read(bytes) {
        let mut text = Vec::new();
        write(&protobuf, &mut text).expect("what was read nests less deeply than what can be written");
        settles(&text, read, write);
    }
    let mut text = Vec::new();
    if write(bytes, &mut text).is_ok() {
        settles(&text, read, write);
    }
    let _ = json::decode_lines(bytes);
});

/// Reading and writing again changes nothing more.
fn settles(text: &[u8], read: Read, write: Write) {
    let protobuf = match read(text) {
        Ok(protobuf) => protobuf,
        Err(error) if error.what.contains("recursion limit") => return,
        Err(error) => panic!("{error}\n{}", String::from_utf8_lossy(text)),
    };
    let mut again = Vec::new();
    write(&protobuf, &mut again).expect("what was written can be read and written");
    assert_eq!(String::from_utf8_lossy(&again), String::from_utf8_lossy(text));
}
