//! Tables: a mistake, and the message it gets.

use super::{errors, warnings};

const SERVICE: &str = "service: {pipelines: {logs: {receivers: [otlp], exporters: [debug]}}}";
const OTLP: &str = "receivers: {otlp: {protocols: {grpc: , http: }}}";
const DEBUG: &str = "exporters: {debug: }";

/// Mistakes in one section, the rest being right.
#[test]
fn components() {
    let exporters = "exporters: {debug: , ";
    for (text, expected) in [
        (
            format!("{OTLP}\n{exporters} posthog: {{host: uss}}}}"),
            "exporters.posthog.host: neither us, eu nor a URL (did you mean \"us\"?; a self-hosted one is https://host)",
        ),
        (
            format!("{OTLP}\n{exporters} posthog: {{token: '${{env:EMPTY}}'}}}}"),
            "exporters.posthog.token: empty (give the project token, or remove the key to pass the clients' tokens through)",
        ),
        (
            format!("{OTLP}\n{exporters} posthog: {{token: '${{env:NOPE}}'}}}}"),
            "exporters.posthog.token: the environment variable NOPE is not set (set it, or write ${env:NOPE:-default})",
        ),
        (
            format!("{OTLP}\n{exporters} posthog: {{tokn: x}}}}"),
            "exporters.posthog.tokn: unknown key (did you mean \"token\"?)",
        ),
        (
            format!("{OTLP}\n{exporters} posthgo: }}"),
            "exporters.posthgo: no exporter is called \"posthgo\" (did you mean \"posthog\"?)",
        ),
        (
            format!("{OTLP}\n{exporters} otlp_http: }}"),
            "exporters.otlp_http.endpoint: missing (give the base URL, such as http://collector:4318)",
        ),
        (
            format!("{OTLP}\n{exporters} otlphttp: {{endpoint: 'c:4318'}}}}"),
            "exporters.otlphttp.endpoint: not an http or https URL (write http://host:port or https://host)",
        ),
        (
            format!("{OTLP}\n{exporters} otlp_http: {{endpoint: 'http://h', headers: {{'a b': x}}}}}}"),
            "exporters.otlp_http.headers.a b: not a header name (letters, digits and - only)",
        ),
        (
            format!("{OTLP}\n{exporters} otlp_http: {{endpoint: 'http://h', tls: {{cert_file: x}}}}}}"),
            "exporters.otlp_http.tls.key_file: missing (a cert_file needs its key_file)",
        ),
        (
            format!("{OTLP}\n{exporters} otlp_http: {{endpoint: 'http://h', sending_queue: {{num_consumers: 0}}}}}}"),
            "exporters.otlp_http.sending_queue.num_consumers: zero (give at least 1)",
        ),
        (
            format!("{OTLP}\n{exporters} otlp_http: {{endpoint: 'http://h', sending_queue: {{max_size: 1KiB}}}}}}"),
            "exporters.otlp_http.sending_queue.max_size: 1KiB is less than batch.max_size (4MiB) (raise it: not one batch would fit)",
        ),
        (
            format!("{OTLP}\n{exporters} file/: {{path: x}}}}"),
            "exporters.file/: nothing after the / (write file or file/name)",
        ),
        (format!("{OTLP}\n{exporters} file: }}"), "exporters.file.path: missing (name the file to append to)"),
        (
            format!("{OTLP}\n{DEBUG}\nprocessors: {{sampler: {{default_percentage: 101}}}}"),
            "processors.sampler.default_percentage: not a percentage (give a number from 0 to 100)",
        ),
        (
            format!("{OTLP}\n{DEBUG}\nprocessors: {{sampler: {{window: {{interval: 0s}}}}}}"),
            "processors.sampler.window.interval: no time at all (give a duration such as 10s)",
        ),
        (
            format!("{OTLP}\n{DEBUG}\nprocessors: {{sampler: {{protect_severity: fatel}}}}"),
            "processors.sampler.protect_severity: \"fatel\" is not a known value (did you mean \"fatal\"?)",
        ),
        (
            format!("{OTLP}\n{DEBUG}\nprocessors: {{memory_limiter: }}"),
            "processors.memory_limiter.limit_mib: missing or zero (give MiB of resident memory, such as 512)",
        ),
        (
            format!("{OTLP}\n{DEBUG}\nprocessors: {{memory_limiter: {{limit_mib: 100, spike_limit_mib: 100}}}}"),
            "processors.memory_limiter.spike_limit_mib: not less than limit_mib (a fifth of limit_mib is usual)",
        ),
        (
            format!("{OTLP}\n{DEBUG}\nextensions: {{bearertokenauth: }}"),
            "extensions.bearertokenauth: no token (give token, tokens or filename)",
        ),
        (
            format!("{OTLP}\n{DEBUG}\nextensions: {{health_check: {{endpoint: ':13133'}}}}"),
            "extensions.health_check.endpoint: no host before the port (write 127.0.0.1 for this machine or 0.0.0.0 for all addresses)",
        ),
        (
            format!("{DEBUG}\nreceivers: {{otlp: }}"),
            "receivers.otlp.protocols: no protocol (name grpc:, http: or both; a key alone takes every default)",
        ),
        (
            format!("{DEBUG}\nreceivers: {{otlp: {{protocols: {{http: {{endpoint: 'http://h:1'}}}}}}}}"),
            "receivers.otlp.protocols.http.endpoint: a URL where host:port is expected (remove the scheme, as in 127.0.0.1:4317)",
        ),
        (
            format!("{DEBUG}\nreceivers: {{otlp: {{protocols: {{grpc: {{tls: {{cert_file: x}}}}}}}}}}"),
            "receivers.otlp.protocols.grpc.tls.key_file: missing (name a PEM file, or remove tls)",
        ),
        (
            format!("{DEBUG}\nreceivers: {{otlp: {{max_in_flight: 1MiB, protocols: {{grpc: }}}}}}"),
            "receivers.otlp.max_in_flight: 1MiB is less than one request may have (64MiB) (raise it, or lower the limits of the protocols)",
        ),
        (
            format!(
                "{DEBUG}\nreceivers: {{otlp: {{protocols: {{grpc: {{auth: {{authenticator: bearertokenauth}}}}}}}}}}"
            ),
            "receivers.otlp.protocols.grpc.auth.authenticator: \"bearertokenauth\" is no authenticator listed in service.extensions (define bearertokenauth under extensions: and list it in service.extensions)",
        ),
        (
            format!(
                "{DEBUG}\nreceivers: {{otlp: {{protocols: {{grpc: {{endpoint: 'h:1'}}, http: {{endpoint: 'h:1'}}}}}}}}"
            ),
            "receivers.otlp.protocols.http.endpoint: h:1 is used twice (receivers.otlp.protocols.grpc.endpoint listens there too)",
        ),
        (format!("{OTLP}\n{DEBUG}\nrecievers: {{}}"), "recievers: unknown section (did you mean \"receivers\"?)"),
    ] {
        let found = errors(&format!("{text}\n{SERVICE}"));
        assert_eq!(found, [expected], "{text}");
    }
}

/// Mistakes in `service:`, the components being right.
#[test]
fn pipelines() {
    let components = "receivers: {otlp: {protocols: {grpc: }}}\nprocessors: {memory_limiter: {limit_mib: 100}, sampler: , sampler/b: }\n\
        exporters: {debug: , otlp_http: {endpoint: 'http://h'}, otlp_http/t: {traces_endpoint: 'http://h'}}\nextensions: {health_check: }";
    let logs = "logs: {receivers: [otlp], exporters: [debug]}";
    for (service, expected) in [
        (
            "{}".to_owned(),
            "service.pipelines.logs: there is no logs pipeline (add logs: {receivers: [otlp], exporters: [posthog]})",
        ),
        (
            "{pipelines: {logs: {receivers: [otlp]}}}".into(),
            "service.pipelines.logs.exporters: empty (name at least one of exporters:)",
        ),
        (
            "{pipelines: {logs: {receivers: [otpl], exporters: [debug]}}}".into(),
            "service.pipelines.logs.receivers[0]: \"otpl\" is not defined under receivers: (did you mean \"otlp\"?)",
        ),
        (
            "{pipelines: {logs: {receivers: [otlp], exporters: [debug, debug]}}}".into(),
            "service.pipelines.logs.exporters[1]: \"debug\" is listed twice (remove one)",
        ),
        (
            "{pipelines: {logs: {receivers: [otlp], exporters: [otlp_http/t]}}}".into(),
            "exporters.otlp_http/t: no endpoint for logs, though a logs pipeline uses it (set endpoint or logs_endpoint)",
        ),
        (
            "{pipelines: {logs: {receivers: [otlp], processors: [sampler, sampler/b], exporters: [debug]}}}".into(),
            "service.pipelines.logs.processors: sampler/b is a second processor of its type (list one of each type only)",
        ),
        (
            "{pipelines: {logs: {receivers: [otlp], processors: [sampler, memory_limiter], exporters: [debug]}}}"
                .into(),
            "service.pipelines.logs.processors: memory_limiter stands behind a sampler (list memory_limiter first)",
        ),
        (
            format!("{{pipelines: {{{logs}, logs/b: {{receivers: [otlp], exporters: [debug]}}}}}}"),
            "service.pipelines.logs/b: a second logs pipeline (one logs pipeline is supported)",
        ),
        (
            format!("{{pipelines: {{{logs}, log: {{}}}}}}"),
            "service.pipelines.log: no such signal (did you mean \"logs\"?)",
        ),
        (
            format!("{{pipelines: {{{logs}, traces: {{receivers: [], exporters: [otlp_http]}}}}}}"),
            "service.pipelines.traces.receivers: not the receivers of the logs pipeline (list the receivers of service.pipelines.logs: the signals share their ports)",
        ),
        (
            format!("{{pipelines: {{{logs}, traces: {{receivers: [otlp], exporters: [debug]}}}}}}"),
            "service.pipelines.traces.exporters: debug cannot forward this signal (only otlp_http forwards traces and metrics)",
        ),
        (
            format!("{{pipelines: {{{logs}, metrics: {{receivers: [otlp], exporters: []}}}}}}"),
            "service.pipelines.metrics.exporters: 0 exporters (list exactly one otlp_http)",
        ),
        (
            format!("{{pipelines: {{{logs}, metrics: {{receivers: [otlp], exporters: [otlp_http/t]}}}}}}"),
            "exporters.otlp_http/t: no endpoint for metrics, though a metrics pipeline uses it (set endpoint or metrics_endpoint)",
        ),
        (
            format!(
                "{{pipelines: {{{logs}, metrics: {{receivers: [otlp], processors: [sampler], exporters: [otlp_http]}}}}}}"
            ),
            "service.pipelines.metrics.processors: processors work on logs only (remove them: this signal is forwarded untouched)",
        ),
        (
            format!("{{extensions: [helth_check], pipelines: {{{logs}}}}}"),
            "service.extensions[0]: \"helth_check\" is not defined under extensions: (did you mean \"health_check\"?)",
        ),
        (
            format!("{{telemetry: {{metrics: {{address: '8888'}}}}, pipelines: {{{logs}}}}}"),
            "service.telemetry.metrics.address: not host:port (write an address such as 127.0.0.1:4317)",
        ),
        (
            format!("{{telemetry: {{logs: {{level: verbose}}}}, pipelines: {{{logs}}}}}"),
            "service.telemetry.logs.level: \"verbose\" is not a known value (one of trace, debug, info, warn, error)",
        ),
    ] {
        let found = errors(&format!("{components}\nservice: {service}"));
        assert_eq!(found, [expected], "{service}");
    }
    assert_eq!(errors(components), ["service: the section is missing (add service.pipelines.logs)"]);
}

#[test]
fn all_errors_come_together_with_their_lines() {
    let text = "receivers:\n  otlp:\n    protocols:\n      grpc:\n        endpiont: h:1\nexporters:\n  posthog:\n    timeout: 5\n    \
        token: ${env:NOPE}\n  debug:\n    verbosity: loud\nservice:\n  pipelines:\n    logs:\n      receivers: [otlp]\n      exporters: [posthog, nope]\n";
    let errors = lipservice::config::load_text(text, "g.yaml", &super::env).unwrap_err();
    let found: Vec<(&str, u32)> =
        errors.0.iter().map(|problem| (problem.path.as_str(), problem.place.as_ref().unwrap().line)).collect();
    let expected = [
        ("exporters.posthog.token", 9),
        ("receivers.otlp.protocols.grpc.endpiont", 5),
        ("exporters.posthog.timeout", 8),
        ("exporters.debug.verbosity", 11),
        ("service.pipelines.logs.exporters[1]", 16),
    ];
    assert_eq!(found, expected, "{errors}");
}

#[test]
fn what_is_unwise_is_a_warning() {
    let otlp = |endpoint: &str| format!("receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '{endpoint}'}}}}}}}}");
    let open = "receivers.otlp.protocols.grpc.endpoint: 0.0.0.0:4317 takes logs from anybody who can reach it, in plain text \
        (set tls or auth, or listen on 127.0.0.1)";
    for (text, expected) in [
        (format!("{}\n{DEBUG}", otlp("127.0.0.1:4317")), vec![]),
        (format!("{}\n{DEBUG}", otlp("localhost:4317")), vec![]),
        (format!("{}\n{DEBUG}", otlp("[::1]:4317")), vec![]),
        (format!("{}\n{DEBUG}", otlp("0.0.0.0:4317")), vec![open]),
        (
            format!("{OTLP}\n{DEBUG}\nextensions: {{health_check: }}"),
            vec!["extensions.health_check: defined but not used (list it in service.extensions or remove it)"],
        ),
        (
            format!("{OTLP}\nexporters: {{debug: , posthog: }}"),
            vec!["exporters.posthog: defined but not used (list it in a pipeline or remove it)"],
        ),
    ] {
        assert_eq!(warnings(&format!("{text}\n{SERVICE}")), expected, "{text}");
    }
    let posthog = "exporters: {posthog: {token: abc, batch: {max_size: 3MiB}, sending_queue: {max_size: 5MiB}}}\n\
        service: {pipelines: {logs: {receivers: [otlp], exporters: [posthog]}}}";
    let expected = [
        "exporters.posthog.sending_queue.max_size: 5MiB is less than the largest request a receiver takes (64MiB) (such a request could never be queued: raise it, or lower the receiver's limit)",
        "exporters.posthog.batch.max_size: PostHog refuses bodies over 2MiB (each batch would have to be split and sent again: lower it)",
        "exporters.posthog.token: a secret written into the file (write ${env:NAME} or ${file:/path})",
    ];
    assert_eq!(warnings(&format!("{OTLP}\n{posthog}")), expected);
}
