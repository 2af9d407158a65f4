"""A link between this network namespace and another, slower and less sure than the real ones.

link.py NAMESPACE NEAR FAR DELAY LOSS: two TUN devices, NEAR here and FAR there. A packet that enters one
leaves the other DELAY seconds later, but one of LOSS is lost. Prints a line when both are there; ends with its stdin.
"""

import ctypes
import fcntl
import heapq
import os
import random
import select
import struct
import sys
import time

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000


def tun(name):
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
    return device


namespace, near, far, delay, loss = sys.argv[1:]
delay, loss = float(delay), int(loss)
ends = [tun(near)]
with open(f"/run/netns/{namespace}") as there:
    if ctypes.CDLL(None, use_errno=True).setns(there.fileno(), 0) != 0:
        sys.exit(f"cannot enter {namespace}: {os.strerror(ctypes.get_errno())}")
ends.append(tun(far))
print("linked", flush=True)

chance = random.Random(1)
on_their_way = []
count = 0
while True:
    wait = max(0.0, on_their_way[0][0] - time.monotonic()) if on_their_way else None
    for ready in select.select([sys.stdin, *ends], [], [], wait)[0]:
        if ready is sys.stdin:
            sys.exit(0)
        try:
            packet = os.read(ready, 65536)
        except OSError:
            continue  # the device is down
        if chance.randrange(loss) == 0:
            continue
        count += 1
        other = ends[1] if ready == ends[0] else ends[0]
        heapq.heappush(on_their_way, (time.monotonic() + delay, count, other, packet))
    while on_their_way and on_their_way[0][0] <= time.monotonic():
        _, _, end, packet = heapq.heappop(on_their_way)
        try:
            os.write(end, packet)
        except OSError:
            pass  # down, or full: lost, as on any link
