// A cart service that logs through the OpenTelemetry SDK, over HTTP in JSON.
// OTEL_EXPORTER_OTLP_ENDPOINT names the gateway (default http://localhost:4318) and OTEL_EXPORTER_OTLP_HEADERS carries
// the client's token: authorization=Bearer%20<token>.
const { SeverityNumber } = require('@opentelemetry/api-logs');
const { OTLPLogExporter } = require('@opentelemetry/exporter-logs-otlp-http');
const { resourceFromAttributes } = require('@opentelemetry/resources');
const { BatchLogRecordProcessor, LoggerProvider } = require('@opentelemetry/sdk-logs');

const requests = Number(process.argv[2] ?? 100);

const provider = new LoggerProvider({
  resource: resourceFromAttributes({ 'service.name': 'cart' }),
  processors: [new BatchLogRecordProcessor({ exporter: new OTLPLogExporter() })],
});
const logger = provider.getLogger('cart');
const log = (level, body, attributes) =>
  logger.emit({ severityNumber: SeverityNumber[level], severityText: level, body, attributes });

for (let number = 0; number < requests; number++) {
  log('INFO', `GET /cart/${number} 200 in ${number % 40}ms`, { 'http.status': 200, cart: number });
}
log('ERROR', 'cart database unreachable', { 'server.address': 'db-1' });

provider.shutdown();
