"""The service on one machine: `slimgpt up` and its processes, `config check`, keys."""
