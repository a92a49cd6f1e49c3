"""A dense network for other benchmarks, trained from scratch on CIFAR-10 (JPEG copy) without ever seeing the holdout.

    python benchmarks/dense.py CIFAR_FOLDER --net mobilenetv2 --work FOLDER [--epochs 20]

SGD, Nesterov 0.9, batch 128, a cosine from --learning-rate to 0 after a warm-up of one epoch, weight decay 5e-4, pad-4
crop and flip, one thread. It can be killed and resumed. Writes results/dense_NET.json and weights/NET.safetensors, in
float16: the weights that are scored are those of the file.
"""

import argparse
import json
from pathlib import Path

import torch
from conditions import conditions
from safetensors.torch import load_file, save_file
from torch import nn
from tuned import figures, opened

import secateur as sc
from secateur.allocator import keep_freed
from secateur.models.evaluate import evaluate, recalibrate_as_trained
from secateur.transfer.objectives.base import CrossEntropy
from secateur.transfer.training.train import train

HERE = Path(__file__).parent


def main() -> None:
    """Train, and write the weights and what they reach."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar", help="the image folder that unpack.py laid out")
    parser.add_argument("--net", default="mobilenetv2")
    parser.add_argument("--work", type=Path, required=True, help="a folder for checkpoints")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--learning-rate", type=float, default=0.1)
    parser.add_argument("--out", type=Path, default=HERE)
    asked = parser.parse_args()
    keep_freed()
    torch.set_num_threads(1)
    data = opened(asked.cifar)
    torch.manual_seed(0)
    model = sc.constructor(asked.net, len(data.classes))()
    data = data.in_memory_format_of(model)
    recipe = sc.Recipe(asked.epochs, learning_rate=asked.learning_rate, warmup=1.0, bfloat16=False)
    for step in train(model, data.train, CrossEntropy(), recipe, folder=asked.work):
        if step.step % 100 == 0:
            print(f"{step.step}/{step.steps} loss {step.loss:.3f}, {step.seconds:.0f} s", flush=True)
    recalibrate_as_trained(model, data.train)
    kept = store(model.eval(), asked.out / "weights" / f"{asked.net}.safetensors")
    scores = {split: figures(evaluate(kept, getattr(data, split))) for split in ("holdout", "test")}
    about = {"net": asked.net, "epochs": asked.epochs, "learning_rate": asked.learning_rate, "seconds": step.seconds}
    result = {**conditions(), **about, **scores}
    (asked.out / "results" / f"dense_{asked.net}.json").write_text(json.dumps(result, indent=1) + "\n")
    print(result)


def store(model: nn.Module, path: Path) -> nn.Module:
    """The network with its weights as a file of float16 has them, which is written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = {name: each.half() if each.is_floating_point() else each for name, each in model.state_dict().items()}
    save_file(half, path)
    model.load_state_dict(load_file(path))
    return model


if __name__ == "__main__":
    main()
