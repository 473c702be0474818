"""An attribute of one's own from few pictures: its cosine with the trained direction, and its AUC on all pictures it has not seen.

python bench/own_attribute.py --faces ../shared/data/faces128 --attribute Eyeglasses --attribute Beard
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import numpy as np

import dva_core
from dva_core.edit.attributes import AttributeSet
from dva_core.edit.directions import from_attribute
from dva_core.edit.own import from_vectors, statistics
from dva_core.train.classifiers import encode_folder, select_columns
from dva_core.train.labels import read_labels, roc_auc


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--attribute", action="append", required=True)
    parser.add_argument("--pictures", type=int, nargs="+", default=[5, 10, 20], help="how many of each kind")
    parser.add_argument("--draws", type=int, default=20)
    args = parser.parse_args()

    model = dva_core.load_model(args.model)
    table = select_columns(read_labels(args.faces / "labels.csv"), args.attribute)
    z_id = encode_folder(model, args.faces, table.files)
    mean, std = statistics(model, "identity")
    write = csv.writer(sys.stdout)
    write.writerow(
        ["attribute", "pictures of each", "cosine with trained", "AUC on the rest", "its spread", "left-out score", "trained AUC"]
    )
    for column, name in enumerate(args.attribute):
        labels = table.labels[:, column]
        yes, no = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
        trained = from_attribute(model, name).vector / std
        for count in args.pictures:
            rng, figures = np.random.default_rng(0), []
            for _ in range(args.draws):
                a, b = rng.choice(yes, count, replace=False), rng.choice(no, count, replace=False)
                rest = np.setdiff1d(np.concatenate([yes, no]), np.concatenate([a, b]))
                own_attribute = from_vectors(model, z_id[a], z_id[b], name)
                own = own_attribute.direction.vector / std
                cosine = own @ trained / np.linalg.norm(own) / np.linalg.norm(trained)
                figures.append((cosine, roc_auc(labels[rest], (z_id[rest] - mean) / std @ own), own_attribute.score))
            cosine, auc, score = np.mean(figures, 0)
            spread = np.std(figures, 0)[1]
            trained_auc = AttributeSet.from_model(model)[name].auc
            write.writerow([name, count, f"{cosine:.3f}", f"{auc:.3f}", f"{spread:.3f}", f"{score:.3f}", trained_auc])


if __name__ == "__main__":
    main()
