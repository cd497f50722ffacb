// Sends the records of a file through the official OpenTelemetry SDK, and a span and a metric with it.
//
// The OTLP exporters read the standard OTEL_EXPORTER_OTLP_* variables; OTEL_EXPORTER_OTLP_PROTOCOL chooses one of them.
// Prints what was sent as one line of JSON; exits 1 if the SDK reports a failed export. Records with integers beyond
// 2^53 are left out: JavaScript numbers cannot hold them.
import { readFileSync } from 'node:fs';

import { ROOT_CONTEXT, trace } from '@opentelemetry/api';
import { ExportResultCode } from '@opentelemetry/core';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BatchLogRecordProcessor, LoggerProvider } from '@opentelemetry/sdk-logs';

const protocol = process.env.OTEL_EXPORTER_OTLP_PROTOCOL ?? 'http/protobuf';
const PACKAGES = { grpc: 'grpc', 'http/protobuf': 'proto', 'http/json': 'http' };
const { OTLPLogExporter } = await import(`@opentelemetry/exporter-logs-otlp-${PACKAGES[protocol]}`);

/** The JavaScript value of an OTLP JSON AnyValue. */
function native(value) {
  const [[kind, inner]] = Object.entries(value);
  switch (kind) {
    case 'intValue': return Number(inner);
    case 'bytesValue': return new Uint8Array(Buffer.from(inner, 'base64'));
    case 'arrayValue': return inner.values.map(native);
    case 'kvlistValue': return attributes(inner.values);
    default: return inner;
  }
}

function attributes(entries = []) {
  return Object.fromEntries(entries.map(({ key, value }) => [key, native(value)]));
}

function isExact(entries = []) {
  return entries.every(({ value }) => value.intValue === undefined || Number.isSafeInteger(Number(value.intValue)));
}

function contextOf({ traceId, spanId, flags = 0 }) {
  return traceId ? trace.setSpanContext(ROOT_CONTEXT, { traceId, spanId, traceFlags: flags }) : ROOT_CONTEXT;
}

/** The SDK's time: [seconds, nanoseconds]. */
function time(nanos) {
  return [Number(BigInt(nanos) / 1_000_000_000n), Number(BigInt(nanos) % 1_000_000_000n)];
}

async function sendLogs(block, resource) {
  let failed = false;
  const exporter = new OTLPLogExporter();
  const original = exporter.export.bind(exporter);
  exporter.export = (records, done) => original(records, (result) => {
    failed ||= result.code !== ExportResultCode.SUCCESS;
    done(result);
  });
  const provider = new LoggerProvider({ resource, processors: [new BatchLogRecordProcessor({ exporter })] });
  const times = [];
  for (const { scope, logRecords } of block.scopeLogs) {
    const logger = provider.getLogger(scope.name, scope.version);
    for (const record of logRecords.filter((record) => isExact(record.attributes))) {
      logger.emit({
        timestamp: time(record.timeUnixNano),
        observedTimestamp: time(record.observedTimeUnixNano),
        severityNumber: record.severityNumber,
        severityText: record.severityText,
        body: native(record.body),
        attributes: attributes(record.attributes),
        eventName: record.eventName,
        context: contextOf(record),
      });
      times.push(record.timeUnixNano);
    }
  }
  await provider.shutdown();
  return { times, failed };
}

async function sendOthers(resource) {
  const { BasicTracerProvider, SimpleSpanProcessor } = await import('@opentelemetry/sdk-trace-base');
  const { OTLPTraceExporter } = await import('@opentelemetry/exporter-trace-otlp-http');
  const { MeterProvider, PeriodicExportingMetricReader } = await import('@opentelemetry/sdk-metrics');
  const { OTLPMetricExporter } = await import('@opentelemetry/exporter-metrics-otlp-http');
  const tracers = new BasicTracerProvider({ resource, spanProcessors: [new SimpleSpanProcessor(new OTLPTraceExporter())] });
  tracers.getTracer('checkout').startSpan('pay').end();
  await tracers.forceFlush();
  await tracers.shutdown();
  const reader = new PeriodicExportingMetricReader({ exporter: new OTLPMetricExporter() });
  const meters = new MeterProvider({ resource, readers: [reader] });
  meters.getMeter('checkout').createCounter('payments').add(3);
  await meters.shutdown();
}

const [block] = JSON.parse(readFileSync(process.argv[2], 'utf8')).resourceLogs;
const resource = resourceFromAttributes(attributes(block.resource.attributes));
const { times, failed } = await sendLogs(block, resource);
if (process.argv.includes('--all-signals')) await sendOthers(resource);
console.log(JSON.stringify({ times, failed }));
process.exit(failed ? 1 : 0);
