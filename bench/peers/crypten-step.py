"""One SGD step of LeNet on encrypted images in CrypTen, two processes with a thread each: seconds a step, as JSON."""

import json
import statistics
import sys
import time

import crypten
import crypten.communicator as comm
import crypten.mpc as mpc
import crypten.nn as nn
import torch

BATCH, STEPS = int(sys.argv[1]), int(sys.argv[2])


def lenet():
    layers = [
        nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10),
    ]
    return nn.Sequential(*layers)


@mpc.run_multiprocess(world_size=2)
def train():
    torch.set_num_threads(1)
    torch.manual_seed(1)
    images = crypten.cryptensor(torch.rand(BATCH, 1, 28, 28), src=0)
    labels = torch.nn.functional.one_hot(torch.arange(BATCH) % 10, 10).float()
    labels = crypten.cryptensor(labels, src=1)
    model, loss_of, times = lenet().encrypt(src=0), nn.CrossEntropyLoss(), []
    model.train()
    for _ in range(STEPS + 1):
        comm.get().barrier()
        began = time.perf_counter()
        loss = loss_of(model(images), labels)
        model.zero_grad()
        loss.backward()
        model.update_parameters(0.01)
        comm.get().barrier()
        times.append(time.perf_counter() - began)
    return times[1:], comm.get().comm_bytes, comm.get().comm_rounds


if __name__ == "__main__":
    times, sent, rounds = train()[0]
    facts = {"crypten": crypten.__version__, "torch": torch.__version__, "batch": BATCH}
    print(json.dumps({**facts, "seconds": statistics.median(times), "all": times}))
