"""A payment service that logs through Python's logging module and the OpenTelemetry SDK, over HTTP.

OTEL_EXPORTER_OTLP_ENDPOINT names the gateway (default http://localhost:4318) and OTEL_EXPORTER_OTLP_HEADERS carries the
client's token: authorization=Bearer%20<token>.
"""

import logging
import sys

from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource

PAYMENTS = int(sys.argv[1]) if len(sys.argv) > 1 else 100

provider = LoggerProvider(resource=Resource.create({"service.name": "payments"}))
provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
log = logging.getLogger("payments")
log.setLevel(logging.INFO)
log.addHandler(LoggingHandler(logger_provider=provider))

for number in range(PAYMENTS):
    log.info("payment %d of %d cents accepted", number, 100 + number, extra={"payment": number})

provider.shutdown()
