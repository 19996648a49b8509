"""An example service: it works in small steps and says when one failed or took too long."""

import argparse
import time

from chaos_kitty_worker import Injected, Worker


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--server", default="unix:chaos_kitty.ipc")
    arguments.add_argument("--name", default="python-shop")
    arguments.add_argument("--group", default="python")
    given = arguments.parse_args()
    with Worker(given.name, group=given.group, labels={"language": "python"}, server=given.server) as worker:
        print("working", flush=True)
        while True:
            began = time.monotonic()
            try:
                worker.guard("work")
            except Injected as error:
                print(f"failed: {error}", flush=True)
            took = time.monotonic() - began
            if took > 0.2:
                print(f"stood still for {took:.3f} s", flush=True)
            time.sleep(0.01)


if __name__ == "__main__":
    main()
