"""websockets' asyncio server + redis.asyncio + websockets.broadcast(): what a good user of the library writes."""

import argparse
import asyncio
from collections import deque

import orjson
import redis.asyncio as aioredis
from websockets.asyncio.server import broadcast, serve

ap = argparse.ArgumentParser()
ap.add_argument("port", type=int)
ap.add_argument("redis_port", type=int)
ap.add_argument("--uvloop", action="store_true")
ap.add_argument("--deflate", action="store_true")
args = ap.parse_args()

clients = set()
history = deque(maxlen=200)


async def handler(ws):
    clients.add(ws)
    try:
        if history:
            await ws.send(b'{"channel":"codeworm:history","data":[' + b",".join(history) + b"]}", text=True)
        async for msg in ws:
            if msg == "ping":
                await ws.send('{"type":"pong"}')
    finally:
        clients.discard(ws)


async def main():
    r = aioredis.from_url(f"redis://127.0.0.1:{args.redis_port}")
    ps = r.pubsub()
    await ps.subscribe("codeworm:logs", "codeworm:events", "codeworm:stats")
    async with serve(
        handler, "127.0.0.1", args.port, compression="deflate" if args.deflate else None, ping_interval=20
    ):
        async for m in ps.listen():
            if m["type"] != "message":
                continue
            data = m["data"]
            try:
                orjson.loads(data)
            except orjson.JSONDecodeError:
                data = orjson.dumps({"raw": data.decode("utf-8", "replace")})
            out = b'{"channel":"' + m["channel"] + b'","data":' + data + b"}"
            history.append(out)
            broadcast(clients, out, text=True)


if args.uvloop:
    import uvloop

    uvloop.run(main())
else:
    asyncio.run(main())
