"""A small data set in the form in which TensorFlow Datasets prepares one, without TensorFlow."""

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

FEATURES = "tensorflow_datasets.core.features"
VERSION = "1.0.0"


def write_prepared(folder: Path, name: str, splits: dict, classes: int = 10, label="label") -> None:
    """Write splits, each (images uint8 (n, h, w, c), labels), as a data set of that name.

    ``label`` is the name of the field of labels.
    """
    from array_record.python.array_record_module import ArrayRecordWriter

    home = folder / name / VERSION
    home.mkdir(parents=True)
    for split, (images, labels) in splits.items():
        path = home / f"{name}-{split}.array_record-00000-of-00001"
        writer = ArrayRecordWriter(str(path), "group_size:1")
        for image, number in zip(images, labels, strict=True):
            writer.write(_example(image, int(number), label))
        writer.close()
    shape = next(iter(splits.values()))[0].shape[1:]
    (home / "features.json").write_text(json.dumps(_features(shape, classes, label)))
    (home / "dataset_info.json").write_text(json.dumps(_info(name, splits)))


def _example(image: np.ndarray, number: int, label: str) -> bytes:
    from tensorflow_datasets.proto import tf_example_pb2, tf_feature_pb2

    encoded = io.BytesIO()
    squeezed = image[..., 0] if image.shape[-1] == 1 else image
    Image.fromarray(squeezed).save(encoded, format="PNG")
    feature = {
        "image": tf_feature_pb2.Feature(
            bytes_list=tf_feature_pb2.BytesList(value=[encoded.getvalue()])
        ),
        label: tf_feature_pb2.Feature(int64_list=tf_feature_pb2.Int64List(value=[number])),
    }
    features = tf_feature_pb2.Features(feature=feature)
    return tf_example_pb2.Example(features=features).SerializeToString()


def _features(shape: tuple[int, ...], classes: int, label: str) -> dict:
    dimensions = {"dimensions": [str(side) for side in shape]}
    return {
        "featuresDict": {
            "features": {
                "image": {
                    "image": {"dtype": "uint8", "shape": dimensions},
                    "pythonClassName": f"{FEATURES}.image_feature.Image",
                },
                label: {
                    "classLabel": {"numClasses": str(classes)},
                    "pythonClassName": f"{FEATURES}.class_label_feature.ClassLabel",
                },
            }
        },
        "pythonClassName": f"{FEATURES}.features_dict.FeaturesDict",
    }


def _info(name: str, splits: dict) -> dict:
    template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    return {
        "fileFormat": "array_record",
        "moduleName": "__main__",
        "name": name,
        "splits": [
            {
                "filepathTemplate": template,
                "name": split,
                "numBytes": "1",
                "shardLengths": [str(len(labels))],
            }
            for split, (_, labels) in splits.items()
        ],
        "version": VERSION,
    }
