"""Programs come in here: HTTP around any socketless handler.

    await api.serve(service.handle, host="10.1.2.1", port=8100, ready=lambda address: ...)
    api.run(service.handle, uds=path, ready_fd=3)    # a whole process, with signals

| module | what it holds |
|---|---|
| `server` | `serve`, `run`: Litestar on uvicorn, limits, problems, access log, graceful stop |
"""

from tfgrid.doors.api.server import Address, run, serve

__all__ = ["Address", "run", "serve"]
