"""A small shop that logs through Python's logging module and the OpenTelemetry SDK, over gRPC.

Where the logs go is said by OTEL_EXPORTER_OTLP_ENDPOINT; the default, localhost:4317, is the sidecar.
"""

import logging
import sys

from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource

REQUESTS = int(sys.argv[1]) if len(sys.argv) > 1 else 100

provider = LoggerProvider(resource=Resource.create({"service.name": "shop"}))
provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(insecure=True)))
log = logging.getLogger("shop")
log.setLevel(logging.DEBUG)
log.addHandler(LoggingHandler(logger_provider=provider))

for number in range(REQUESTS):
    log.info("GET /healthz 200")
    log.debug("cache hit for cart:%d", number)
    log.info("GET /cart/%d 200 in %dms", number, number % 40, extra={"http.status": 200, "cart": number})
log.error("payment %d failed", REQUESTS, extra={"exception.type": "CardDeclined"})

provider.shutdown()
