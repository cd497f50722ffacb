// A small shop that logs through the OpenTelemetry SDK, over gRPC.
// OTEL_EXPORTER_OTLP_ENDPOINT says where to; the default, http://localhost:4317, is the sidecar.
const { SeverityNumber } = require('@opentelemetry/api-logs');
const { OTLPLogExporter } = require('@opentelemetry/exporter-logs-otlp-grpc');
const { resourceFromAttributes } = require('@opentelemetry/resources');
const { BatchLogRecordProcessor, LoggerProvider } = require('@opentelemetry/sdk-logs');

const requests = Number(process.argv[2] ?? 100);

const provider = new LoggerProvider({
  resource: resourceFromAttributes({ 'service.name': 'shop' }),
  processors: [new BatchLogRecordProcessor({ exporter: new OTLPLogExporter() })],
});
const logger = provider.getLogger('shop');
const log = (level, body, attributes) =>
  logger.emit({ severityNumber: SeverityNumber[level], severityText: level, body, attributes });

for (let number = 0; number < requests; number++) {
  log('INFO', 'GET /healthz 200');
  log('DEBUG', `cache hit for cart:${number}`);
  log('INFO', `GET /cart/${number} 200 in ${number % 40}ms`, { 'http.status': 200, cart: number });
}
log('ERROR', `payment ${requests} failed`, { 'exception.type': 'CardDeclined' });

provider.shutdown();
