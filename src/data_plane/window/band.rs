//! Severity bands: the ranges of `SeverityNumber` in the OpenTelemetry log data model.
//!
//! Promises: total; a record without a number falls back to its severity text, then to `unset`.
//! Never: looks at the body.

/// A range of severities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Band {
    /// Neither a number nor a known text.
    #[default]
    Unset,
    /// 1-4.
    Trace,
    /// 5-8.
    Debug,
    /// 9-12.
    Info,
    /// 13-16.
    Warn,
    /// 17-20.
    Error,
    /// 21-24.
    Fatal,
}

/// Texts that name a band: the data model's short names, syslog's severities and the usual spellings of loggers.
const TEXTS: [(&str, Band); 22] = [
    ("trace", Band::Trace),
    ("verbose", Band::Trace),
    ("debug", Band::Debug),
    ("info", Band::Info),
    ("information", Band::Info),
    ("informational", Band::Info),
    ("notice", Band::Info),
    ("warn", Band::Warn),
    ("warning", Band::Warn),
    ("err", Band::Error),
    ("error", Band::Error),
    ("severe", Band::Error),
    ("failure", Band::Error),
    ("crit", Band::Fatal),
    ("critical", Band::Fatal),
    ("alert", Band::Fatal),
    ("emerg", Band::Fatal),
    ("emergency", Band::Fatal),
    ("fatal", Band::Fatal),
    ("panic", Band::Fatal),
    ("dpanic", Band::Fatal),
    ("exception", Band::Error),
];

impl Band {
    /// The band of a record: by number, else by text.
    #[inline]
    pub fn of(severity_number: u8, severity_text: &[u8]) -> Band {
        const BY_FOUR: [Band; 6] = [Band::Trace, Band::Debug, Band::Info, Band::Warn, Band::Error, Band::Fatal];
        // Looked up, not compared: which severity comes next is not predictable.
        match BY_FOUR.get(usize::from(severity_number.wrapping_sub(1) / 4)) {
            Some(band) => *band,
            None if severity_text.is_empty() => Band::Unset,
            None => Band::of_text(severity_text),
        }
    }

    #[inline(never)]
    fn of_text(text: &[u8]) -> Band {
        let text = text.trim_ascii();
        // INFO2, WARN3, …: the data model's names within a band.
        let text = text.strip_suffix(b"2").or(text.strip_suffix(b"3")).or(text.strip_suffix(b"4")).unwrap_or(text);
        let found = TEXTS.iter().find(|(name, _)| text.eq_ignore_ascii_case(name.as_bytes()));
        found.map_or(Band::Unset, |(_, band)| *band)
    }

    /// The band of this name, as [`Band::as_str`] writes it.
    pub fn named(name: &str) -> Option<Band> {
        use Band::{Debug, Error, Fatal, Info, Trace, Unset, Warn};
        [Unset, Trace, Debug, Info, Warn, Error, Fatal].into_iter().find(|band| band.as_str() == name)
    }

    /// Its name in metrics and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Band::Unset => "unset",
            Band::Trace => "trace",
            Band::Debug => "debug",
            Band::Info => "info",
            Band::Warn => "warn",
            Band::Error => "error",
            Band::Fatal => "fatal",
        }
    }

    /// The lowest `SeverityNumber` of the band; 0 for `unset`.
    pub fn severity_number(self) -> u8 {
        match self {
            Band::Unset => 0,
            Band::Trace => 1,
            Band::Debug => 5,
            Band::Info => 9,
            Band::Warn => 13,
            Band::Error => 17,
            Band::Fatal => 21,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_then_text_then_unset() {
        for (number, text, band) in [
            (1, "ERROR", Band::Trace),
            (8, "", Band::Debug),
            (12, "", Band::Info),
            (13, "", Band::Warn),
            (17, "", Band::Error),
            (24, "", Band::Fatal),
            (25, "", Band::Unset),
            (255, "warning", Band::Warn),
            (0, "Error", Band::Error),
            (0, " CRITICAL ", Band::Fatal),
            (0, "INFO2", Band::Info),
            (0, "chatty", Band::Unset),
            (0, "", Band::Unset),
        ] {
            assert_eq!(Band::of(number, text.as_bytes()), band, "{number} {text:?}");
        }
        for band in [Band::Trace, Band::Debug, Band::Info, Band::Warn, Band::Error, Band::Fatal] {
            assert_eq!(Band::of(band.severity_number(), b""), band);
            assert_eq!(Band::of(0, band.as_str().as_bytes()), band);
        }
    }
}
