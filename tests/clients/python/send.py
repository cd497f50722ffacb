"""Sends the records of a file through the official OpenTelemetry SDK, and a span and a metric with it.

The OTLP exporter reads the standard OTEL_EXPORTER_OTLP_* variables. Prints what was sent as one line of JSON; exits 1 if
the SDK reports a failed export.
"""

import base64
import json
import os
import sys

from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

if os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL") == "grpc":
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
else:
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter


class Watched(LogRecordExporter):
    """Notes whether an export failed: the batch processor only logs it."""

    def __init__(self, exporter):
        self.exporter = exporter
        self.failed = False

    def export(self, batch):
        result = self.exporter.export(batch)
        self.failed |= result != LogRecordExportResult.SUCCESS
        return result

    def shutdown(self):
        self.exporter.shutdown()

    def force_flush(self, timeout_millis=10_000):
        return self.exporter.force_flush(timeout_millis)


def native(value):
    """The Python value of an OTLP JSON AnyValue."""
    ((kind, inner),) = value.items()
    if kind == "intValue":
        return int(inner)
    if kind == "bytesValue":
        return base64.b64decode(inner)
    if kind == "arrayValue":
        return [native(element) for element in inner["values"]]
    if kind == "kvlistValue":
        return attributes(inner["values"])
    return inner


def attributes(entries):
    return {entry["key"]: native(entry["value"]) for entry in entries}


def context_of(record):
    if "traceId" not in record:
        return None
    span_context = trace.SpanContext(
        trace_id=int(record["traceId"], 16),
        span_id=int(record["spanId"], 16),
        is_remote=False,
        trace_flags=trace.TraceFlags(record.get("flags", 0)),
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(span_context))


def send_logs(block, resource):
    exporter = Watched(OTLPLogExporter())
    provider = LoggerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    sent = []
    for scope_logs in block["scopeLogs"]:
        scope = scope_logs["scope"]
        logger = provider.get_logger(scope["name"], scope["version"])
        for record in scope_logs["logRecords"]:
            logger.emit(
                LogRecord(
                    timestamp=int(record["timeUnixNano"]),
                    observed_timestamp=int(record["observedTimeUnixNano"]),
                    context=context_of(record),
                    severity_text=record.get("severityText"),
                    severity_number=SeverityNumber(record["severityNumber"]),
                    body=native(record["body"]),
                    attributes=attributes(record.get("attributes", [])),
                    event_name=record.get("eventName"),
                )
            )
            sent.append(record["timeUnixNano"])
    provider.shutdown()
    return sent, exporter.failed


def send_others(resource):
    tracer_provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    tracer_provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
    with tracer_provider.get_tracer("checkout").start_as_current_span("pay"):
        pass
    tracer_provider.shutdown()
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(), export_interval_millis=60_000)
    meter_provider = MeterProvider(resource=resource, metric_readers=[reader], shutdown_on_exit=False)
    meter_provider.get_meter("checkout").create_counter("payments").add(3)
    meter_provider.shutdown()


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        (block,) = json.load(file)["resourceLogs"]
    resource = Resource(attributes(block["resource"]["attributes"]))
    sent, failed = send_logs(block, resource)
    if "--all-signals" in sys.argv:
        send_others(resource)
    print(json.dumps({"times": sent, "failed": failed}))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
