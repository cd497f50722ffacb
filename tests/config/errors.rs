//! Tables: a mistake, and the message it gets.

use super::{errors, warnings};

const SERVICE: &str = "service: {pipelines: {logs: {receivers: [otlp], exporters: [debug]}}}";
const OTLP: &str = "receivers: {otlp: {protocols: {grpc: , http: }}}";
const DEBUG: &str = "exporters: {debug: }";

/// Each case has its own mistake and everything else right.
fn expect(cases: &[(&str, &str)], text: impl Fn(&str) -> String) {
    for (case, expected) in cases {
        assert_eq!(errors(&text(case)), [*expected], "{case}");
    }
}

#[test]
fn exporters() {
    let text = |case: &str| format!("{OTLP}\nexporters: {{debug: , {case}}}\n{SERVICE}");
    expect(
        &[
            (
                "posthog: {host: uss}",
                "exporters.posthog.host: neither us, eu nor a URL (did you mean \"us\"?; a self-hosted one is https://host)",
            ),
            (
                "posthog: {token: '${env:EMPTY}'}",
                "exporters.posthog.token: empty (give the project token, or remove the key to pass the clients' tokens through)",
            ),
            (
                "posthog: {token: '${env:NOPE}'}",
                "exporters.posthog.token: the environment variable NOPE is not set (set it, or write ${env:NOPE:-default})",
            ),
            (
                "posthog: {token: phc_x, token_file: /token}",
                "exporters.posthog.token_file: given beside token (keep one of the two)",
            ),
            ("posthog: {tokn: x}", "exporters.posthog.tokn: unknown key (did you mean \"token\"?)"),
            ("posthgo:", "exporters.posthgo: no exporter is called \"posthgo\" (did you mean \"posthog\"?)"),
            ("otlp_http:", "exporters.otlp_http.endpoint: missing (give the base URL, such as http://collector:4318)"),
            (
                "otlphttp: {endpoint: 'c:4318'}",
                "exporters.otlphttp.endpoint: not an http or https URL (write http://host:port or https://host)",
            ),
            ("file/: {path: x}", "exporters.file/: nothing after the / (write file or file/name)"),
            ("file:", "exporters.file.path: missing (name the file to append to)"),
        ],
        text,
    );
}

#[test]
fn delivery() {
    let text =
        |case: &str| format!("{OTLP}\nexporters: {{debug: , otlp_http: {{endpoint: 'http://h', {case}}}}}\n{SERVICE}");
    expect(
        &[
            ("headers: {'a b': x}", "exporters.otlp_http.headers.a b: not a header name (letters, digits and - only)"),
            (
                "headers: {authorization: x}, token_file: /token",
                "exporters.otlp_http.token_file: given beside headers.Authorization (keep one of the two)",
            ),
            (
                "pass_token: true, token_file: /token",
                "exporters.otlp_http.token_file: given beside pass_token (keep one of the two)",
            ),
            ("tls: {cert_file: x}", "exporters.otlp_http.tls.key_file: missing (a cert_file needs its key_file)"),
            (
                "sending_queue: {num_consumers: 0}",
                "exporters.otlp_http.sending_queue.num_consumers: zero (give at least 1)",
            ),
            (
                "sending_queue: {max_size: 1KiB}",
                "exporters.otlp_http.sending_queue.max_size: 1KiB is less than batch.max_size (4MiB) (raise it: not one batch would fit)",
            ),
        ],
        text,
    );
}

#[test]
fn processors_and_extensions() {
    let text = |case: &str| format!("{OTLP}\n{DEBUG}\n{case}\n{SERVICE}");
    expect(
        &[
            (
                "processors: {sampler: {default_percentage: 101}}",
                "processors.sampler.default_percentage: not a percentage (give a number from 0 to 100)",
            ),
            (
                "processors: {sampler: {window: {interval: 0s}}}",
                "processors.sampler.window.interval: no time at all (give a duration such as 10s)",
            ),
            (
                "processors: {sampler: {protect_severity: fatel}}",
                "processors.sampler.protect_severity: \"fatel\" is not a known value (did you mean \"fatal\"?)",
            ),
            (
                "processors: {memory_limiter: }",
                "processors.memory_limiter.limit_mib: missing or zero (give MiB of resident memory, such as 512, or a limit_percentage)",
            ),
            (
                "processors: {memory_limiter: {limit_mib: 100, spike_limit_mib: 100}}",
                "processors.memory_limiter.spike_limit_mib: not less than limit_mib (a fifth of limit_mib is usual)",
            ),
            (
                "processors: {memory_limiter: {limit_percentage: 101}}",
                "processors.memory_limiter.limit_percentage: over 100 (give a percentage of the memory)",
            ),
            (
                "processors: {memory_limiter: {limit_percentage: 20, spike_limit_percentage: 20}}",
                "processors.memory_limiter.spike_limit_percentage: not less than limit_percentage (a fifth of limit_percentage is usual)",
            ),
            (
                "extensions: {bearertokenauth: }",
                "extensions.bearertokenauth: no token (give token, tokens or filename)",
            ),
            (
                "extensions: {health_check: {endpoint: ':13133'}}",
                "extensions.health_check.endpoint: no host before the port (write 127.0.0.1 for this machine or 0.0.0.0 for all addresses)",
            ),
            ("recievers: {}", "recievers: unknown section (did you mean \"receivers\"?)"),
        ],
        text,
    );
}

#[test]
fn receivers() {
    let text = |case: &str| format!("{DEBUG}\nreceivers: {{otlp: {{{case}}}}}\n{SERVICE}");
    expect(
        &[
            ("", "receivers.otlp.protocols: no protocol (name grpc:, http: or both; a key alone takes every default)"),
            (
                "protocols: {http: {endpoint: 'http://h:1'}}",
                "receivers.otlp.protocols.http.endpoint: a URL where host:port is expected (remove the scheme, as in 127.0.0.1:4317)",
            ),
            (
                "protocols: {grpc: {tls: {cert_file: x}}}",
                "receivers.otlp.protocols.grpc.tls.key_file: missing (name a PEM file, or remove tls)",
            ),
            (
                "max_in_flight: 1MiB, protocols: {grpc: }",
                "receivers.otlp.max_in_flight: 1MiB is less than one request may have (64MiB) (raise it, or lower the limits of the protocols)",
            ),
            (
                "protocols: {grpc: {auth: {authenticator: bearertokenauth}}}",
                "receivers.otlp.protocols.grpc.auth.authenticator: \"bearertokenauth\" is no authenticator listed in service.extensions (define bearertokenauth under extensions: and list it in service.extensions)",
            ),
            (
                "protocols: {grpc: {endpoint: 'h:1'}, http: {endpoint: 'h:1'}}",
                "receivers.otlp.protocols.http.endpoint: h:1 is used twice (receivers.otlp.protocols.grpc.endpoint listens there too)",
            ),
        ],
        text,
    );
}

const COMPONENTS: &str = "receivers: {otlp: {protocols: {grpc: }}}
processors: {memory_limiter: {limit_mib: 100}, sampler: , sampler/b: }
exporters: {debug: , otlp_http: {endpoint: 'http://h'}, otlp_http/t: {traces_endpoint: 'http://h'}}
extensions: {health_check: }";

#[test]
fn logs_pipelines() {
    let text = |case: &str| format!("{COMPONENTS}\nservice: {case}");
    assert_eq!(errors(COMPONENTS), ["service: the section is missing (add service.pipelines.logs)"]);
    expect(
        &[
            (
                "{}",
                "service.pipelines.logs: there is no logs pipeline (add logs: {receivers: [otlp], exporters: [posthog]})",
            ),
            (
                "{pipelines: {logs: {receivers: [otlp]}}}",
                "service.pipelines.logs.exporters: empty (name at least one of exporters:)",
            ),
            (
                "{pipelines: {logs: {receivers: [otpl], exporters: [debug]}}}",
                "service.pipelines.logs.receivers[0]: \"otpl\" is not defined under receivers: (did you mean \"otlp\"?)",
            ),
            (
                "{pipelines: {logs: {receivers: [otlp], exporters: [debug, debug]}}}",
                "service.pipelines.logs.exporters[1]: \"debug\" is listed twice (remove one)",
            ),
            (
                "{pipelines: {logs: {receivers: [otlp], exporters: [otlp_http/t]}}}",
                "exporters.otlp_http/t: no endpoint for logs, though a logs pipeline uses it (set endpoint or logs_endpoint)",
            ),
            (
                "{pipelines: {logs: {receivers: [otlp], processors: [sampler, sampler/b], exporters: [debug]}}}",
                "service.pipelines.logs.processors: sampler/b is a second processor of its type (list one of each type only)",
            ),
        ],
        text,
    );
}

#[test]
fn other_pipelines_and_telemetry() {
    let logs = "logs: {receivers: [otlp], exporters: [debug]}";
    let text = |case: &str| format!("{COMPONENTS}\nservice: {}", case.replace("LOGS", logs));
    expect(
        &[
            (
                "{pipelines: {LOGS, logs/b: {receivers: [otlp], exporters: [debug]}}}",
                "service.pipelines.logs/b: a second logs pipeline (one logs pipeline is supported)",
            ),
            ("{pipelines: {LOGS, log: {}}}", "service.pipelines.log: no such signal (did you mean \"logs\"?)"),
            (
                "{pipelines: {LOGS, traces: {receivers: [], exporters: [otlp_http]}}}",
                "service.pipelines.traces.receivers: not the receivers of the logs pipeline (list the receivers of service.pipelines.logs: the signals share their ports)",
            ),
            (
                "{pipelines: {LOGS, traces: {receivers: [otlp], exporters: [debug]}}}",
                "service.pipelines.traces.exporters: debug cannot forward this signal (only otlp_http forwards traces and metrics)",
            ),
            (
                "{pipelines: {LOGS, metrics: {receivers: [otlp], exporters: []}}}",
                "service.pipelines.metrics.exporters: 0 exporters (list exactly one otlp_http)",
            ),
            (
                "{pipelines: {LOGS, metrics: {receivers: [otlp], exporters: [otlp_http/t]}}}",
                "exporters.otlp_http/t: no endpoint for metrics, though a metrics pipeline uses it (set endpoint or metrics_endpoint)",
            ),
            (
                "{pipelines: {LOGS, metrics: {receivers: [otlp], processors: [sampler], exporters: [otlp_http]}}}",
                "service.pipelines.metrics.processors: processors work on logs only (remove them: this signal is forwarded untouched)",
            ),
            (
                "{extensions: [helth_check], pipelines: {LOGS}}",
                "service.extensions[0]: \"helth_check\" is not defined under extensions: (did you mean \"health_check\"?)",
            ),
            (
                "{telemetry: {metrics: {address: '8888'}}, pipelines: {LOGS}}",
                "service.telemetry.metrics.address: not host:port (write an address such as 127.0.0.1:4317)",
            ),
            (
                "{telemetry: {logs: {level: verbose}}, pipelines: {LOGS}}",
                "service.telemetry.logs.level: \"verbose\" is not a known value (one of trace, debug, info, warn, error)",
            ),
        ],
        text,
    );
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
