//! Files merged, sets applied, values substituted, the result printed and loaded again.

use std::path::PathBuf;

use lipservice::config::{load, load_sections, load_text, render};
use lipservice::data_plane::exporter::config::ExporterConfig;
use lipservice::units::{ByteSize, Period};

use super::{MARKER, env, errors, loaded};

const FULL: &str = r#"
receivers:
  otlp:
    protocols:
      grpc: {endpoint: 127.0.0.1:14317, auth: {authenticator: bearertokenauth}}
      http:
processors:
  memory_limiter: {limit_mib: 512}
  sampler: {policies: [./policies], default_percentage: 10}
exporters:
  posthog: {host: "${env:HOST}", token: "${env:POSTHOG_TOKEN}", sending_queue: {num_consumers: "${env:TEN}"}}
  otlp_http/traces: {endpoint: "http://collector:4318", headers: {x-key: "Bearer ${env:SECRET}"}}
extensions:
  health_check:
  bearertokenauth: {tokens: ["${env:GATEWAY_TOKEN}"]}
service:
  extensions: [health_check, bearertokenauth]
  pipelines:
    logs: {receivers: [otlp], processors: [memory_limiter, sampler], exporters: [posthog]}
    traces: {receivers: [otlp], exporters: [otlp_http/traces]}
  telemetry: {logs: {level: debug, format: json}, metrics: {address: 127.0.0.1:18888}}
"#;

#[test]
fn a_full_configuration() {
    let loaded = loaded(FULL);
    assert_eq!(loaded.warnings, []);
    let config = loaded.config;
    assert_eq!(config.receivers.len(), 1);
    assert_eq!(config.sampler.as_ref().unwrap().default_percentage, 10.0);
    assert_eq!(config.memory_limiter.as_ref().unwrap().limit_mib, 512);
    assert_eq!(config.shutdown_timeout, Period::secs(25));
    assert_eq!(config.traces.as_ref().unwrap().0, "otlp_http/traces");
    assert!(config.metrics.is_none());
    let ExporterConfig::PostHog(posthog) = &config.logs_exporters[0].1 else { panic!("not posthog") };
    assert_eq!((posthog.host.as_str(), posthog.sending_queue.num_consumers), ("eu", 10));
    assert_eq!(posthog.token.as_ref().unwrap().expose(), MARKER);
    assert_eq!(config.traces.unwrap().1.headers["x-key"].expose(), format!("Bearer {MARKER}"));
}

#[test]
fn what_is_printed_loads_again() {
    let config = loaded(FULL).config;
    let printed = render(&config);
    let again = loaded(&printed).config;
    assert_eq!(render(&again), printed);
    assert_eq!(again.receivers, config.receivers);
    assert_eq!(again.sampler, config.sampler);
    assert_eq!(again.telemetry, config.telemetry);
    // An address that is switched off stays off.
    let off = loaded(&FULL.replace("{address: 127.0.0.1:18888}", "{address: null}")).config;
    assert_eq!(loaded(&render(&off)).config.telemetry.metrics.address, None);
}

#[test]
fn printed_form_is_the_golden_one() {
    let printed = render(&loaded(FULL).config);
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/config/print-config.golden.yaml");
    super::files::same_as_file(golden, &printed);
}

#[test]
fn files_merge_and_sets_win() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| -> PathBuf {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let base = write("base.yaml", FULL);
    let over = write("over.yaml", "processors: {sampler: {default_percentage: 20, novelty_records: 5}}\n");
    let sets = ["processors.sampler.default_percentage=30".to_owned(), "exporters::posthog::timeout=1m".to_owned()];
    let config = load(&[base.clone(), over.clone()], &sets, &env).unwrap().config;
    let sampler = config.sampler.unwrap();
    assert_eq!((sampler.default_percentage, sampler.novelty_records), (30.0, 5));
    assert_eq!(sampler.policies, ["./policies"]);
    let ExporterConfig::PostHog(posthog) = &config.logs_exporters[0].1 else { panic!("not posthog") };
    assert_eq!(posthog.timeout, Period::secs(60));

    let wrong = ["processors.sampler.window.interval=5".to_owned(), "nonsense".to_owned()];
    let errors = load(std::slice::from_ref(&base), &wrong, &env).unwrap_err().to_string();
    assert!(errors.contains("--set: no = in the argument"), "{errors}");
    let errors = load(std::slice::from_ref(&base), &wrong[..1], &env).unwrap_err().to_string();
    assert!(errors.contains("processors.sampler.window.interval: 5 lacks a unit"), "{errors}");
    assert!(errors.contains(" at --set"), "{errors}");
}

#[test]
fn files_that_cannot_be_read_are_all_named() {
    let dir = tempfile::tempdir().unwrap();
    let bad = dir.path().join("bad.yaml");
    std::fs::write(&bad, "a: 1\na: 2\n").unwrap();
    let binary = dir.path().join("binary.yaml");
    std::fs::write(&binary, [0xff, 0xfe, 0x00, 0x80]).unwrap();
    let missing = dir.path().join("missing.yaml");
    let errors = load(&[missing.clone(), bad.clone(), binary.clone()], &[], &env).unwrap_err();
    assert_eq!(errors.0.len(), 3, "{errors}");
    assert!(errors.0[0].to_string().starts_with(&format!("{}: cannot open the file", missing.display())));
    assert!(errors.0[1].to_string().starts_with(&format!("{}:2: not readable as YAML", bad.display())), "{errors}");
    assert!(errors.0[2].to_string().starts_with(&format!("{}: cannot read the file", binary.display())), "{errors}");
    assert_eq!(load(&[], &[], &env).unwrap_err().0[0].problem, "no configuration file given");
}

#[test]
fn a_section_may_stand_alone_for_those_who_run_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("lipservice.yaml");
    let read = |text: &str| {
        std::fs::write(&file, text).unwrap();
        load_sections(&file, &env).map(|loaded| loaded.config)
    };
    let alone = "posthog: {project: 7, api_key: '${env:SECRET}'}";
    assert_eq!(read(alone).unwrap().posthog.project, Some(7));
    // A sampler that no pipeline names would go unheard.
    let unused = "processors: {sampler: }\nposthog: {project: 7}";
    assert!(read(unused).unwrap_err().to_string().contains("service: the section is missing"));
    let empty = "processors: {sampler: }\nservice: {pipelines: {}}";
    assert!(read(empty).unwrap_err().to_string().contains("there is no logs pipeline"));
    assert_eq!(read(FULL).unwrap().logs_exporters.len(), 1);
    // Mistakes in it are found all the same, and running needs the rest.
    assert!(read("posthog: {project: x}").unwrap_err().to_string().contains("posthog.project"));
    assert!(read("posthogg: {}").unwrap_err().to_string().contains("unknown section"));
    read(alone).unwrap();
    let to_run = load(std::slice::from_ref(&file), &[], &env).unwrap_err().to_string();
    assert!(to_run.contains("service: the section is missing"), "{to_run}");
}

#[test]
fn texts_that_are_no_configuration() {
    for (text, error) in [
        ("- a", "not a map (a configuration begins with keys such as receivers: and service:)"),
        ("", "service: the section is missing (add service.pipelines.logs)"),
        ("service: 5", "service: a number where a map is expected"),
        (
            "receivers: 5\nservice: {pipelines: {logs: {receivers: [a], exporters: [b]}}}",
            "receivers: not a map (write one key for each component)",
        ),
    ] {
        assert_eq!(errors(text)[0], error, "{text}");
    }
}

#[test]
fn a_value_cannot_add_structure() {
    let trick = |name: &str| match name {
        "TRICK" => Some("us\n    token: stolen\nservice: {}".to_owned()),
        _ => None,
    };
    let text =
        FULL.replace("${env:HOST}", "${env:TRICK}").replace("${env:POSTHOG_TOKEN}", "t").replace("\"${env:TEN}\"", "1");
    let text = text.replace("${env:SECRET}", "s").replace("${env:GATEWAY_TOKEN}", "s");
    let errors = load_text(&text, "t", &trick).unwrap_err();
    assert_eq!(errors.0.len(), 1, "{errors}");
    assert_eq!(errors.0[0].path, "exporters.posthog.host");
    assert!(!errors.to_string().contains("stolen"), "{errors}");
}

#[test]
fn secrets_are_never_seen() {
    let loaded = loaded(FULL);
    let mut seen = format!("{:?}{}", loaded, render(&loaded.config));
    // Put the marker, as a literal and as a variable, in place of every scalar of the file and look at the messages.
    for written in [MARKER, "${env:SECRET}", "x ${env:SECRET}", "[${env:SECRET}"] {
        let quoted = serde_json::to_string(written).unwrap();
        let places: Vec<usize> = FULL.match_indices(": ").map(|(at, _)| at + 2).collect();
        for at in places {
            let end = FULL[at..].find([',', '}', '\n']).map_or(FULL.len(), |end| at + end);
            if FULL[at..end].starts_with(['{', '[']) || written == MARKER && !FULL[at..end].contains("env:") {
                continue;
            }
            let text = format!("{}{quoted}{}", &FULL[..at], &FULL[end..]);
            match load_text(&text, "t", &env) {
                Ok(loaded) => seen.push_str(&format!("{:?}", loaded.warnings)),
                Err(errors) => seen.push_str(&format!("{errors} {errors:?}")),
            }
        }
    }
    let leak = seen.find(MARKER).map(|at| seen[at.saturating_sub(200)..].chars().take(300).collect::<String>());
    assert_eq!(leak, None);
}

#[test]
fn defaults_are_those_documented() {
    let config = loaded(&super::with("receivers: {otlp: {protocols: {grpc: , http: }}}\nexporters: {debug: }")).config;
    assert!(config.sampler.is_none() && config.memory_limiter.is_none() && config.health.is_none());
    assert_eq!(config.telemetry.metrics.address.as_deref(), Some("127.0.0.1:8888"));
    assert_eq!(config.receivers[0].1.max_in_flight, ByteSize::mib(256));
}
