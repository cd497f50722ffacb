//! The signature's code under Miri, which sees what no test can: reads and writes outside, and what is undefined.
//!
//! Purpose: run the gateway's only unsafe calls, with AVX2 and without, over texts of every length around a block's.
//! Promises: the code is the gateway's own files; both ways write the same.
//! Never: part of the gateway or of its tests; `scripts/miri.sh` runs it.

#[path = "../../src/data_plane/signature"]
mod signature {
    #[cfg(target_arch = "x86_64")]
    mod avx2;
    mod line;
    mod marks;
    pub mod mask;
    pub mod memo;
    mod names;
    mod scan;
    mod spans;
    mod window;
    mod words;

    /// What a memo keeps.
    #[derive(Clone, Copy, Debug)]
    pub struct Signature(pub u64);
}

#[cfg(test)]
mod tests {
    use super::signature::mask::Template;

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn avx2_is_on() {
        assert!(!cfg!(miri) || cfg!(target_feature = "avx2"), "scripts/miri.sh switches it on");
    }

    const VECTORS: &str = include_str!("../../spec/signature-vectors.json");

    fn agree(text: &[u8]) {
        // What varies is found by the same walk.
        assert!(Template::portable().explain(&text[..text.len().min(40)]).len() <= 40);
        let (mut ours, mut portable) = (Template::default(), Template::portable());
        ours.write(text);
        portable.write(text);
        assert_eq!(ours.bytes(), portable.bytes(), "{}", String::from_utf8_lossy(text));
    }

    #[test]
    fn texts_of_every_length_around_a_block() {
        let text: Vec<u8> =
            b"at 2026-01-05T10:00:00Z GET /a/b?c=1 (7 ms) [x, \"y\"] <z> ".iter().copied().cycle().take(200).collect();
        (0..text.len()).step_by(if cfg!(miri) { 7 } else { 1 }).for_each(|length| agree(&text[..length]));
    }

    #[test]
    fn the_vectors_lines() {
        VECTORS.lines().step_by(if cfg!(miri) { 120 } else { 1 }).for_each(|line| agree(line.as_bytes()));
    }

    #[test]
    fn the_longest_and_the_densest_text() {
        agree(&[b'x'; 5_000]);
        agree(&b"(1".repeat(2_500));
        agree(&[0xff; 300]);
    }
}
