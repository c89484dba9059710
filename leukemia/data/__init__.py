"""From image files to batches.

The names of ``__all__`` are imported when they are first asked for.
"""

from typing import TYPE_CHECKING

from leukemia import lazy

if TYPE_CHECKING:
    from leukemia.data.augment import Augmenter, AugmentSpec, paper_views
    from leukemia.data.datamodule import ArrayDataModule, EmbeddingDataModule, SmearDataModule
    from leukemia.data.files.manifest import Manifest, build_manifest
    from leukemia.data.image.mask import MaskSpec
    from leukemia.data.image.preprocess import Preprocess
    from leukemia.data.image.stain import Background, Macenko, Reinhard
    from leukemia.data.split.grouped import grouped_split, kfold_split
    from leukemia.data.split.parts import Split, file_split
    from leukemia.data.split.protocols import paper_split, stratified_split
    from leukemia.data.synthetic import paint_smears

__all__ = [
    "ArrayDataModule",
    "AugmentSpec",
    "Augmenter",
    "Background",
    "EmbeddingDataModule",
    "Macenko",
    "Manifest",
    "MaskSpec",
    "Preprocess",
    "Reinhard",
    "SmearDataModule",
    "Split",
    "build_manifest",
    "file_split",
    "grouped_split",
    "kfold_split",
    "paint_smears",
    "paper_split",
    "paper_views",
    "stratified_split",
]

__getattr__ = lazy(
    __name__,
    {
        "ArrayDataModule": "datamodule",
        "AugmentSpec": "augment",
        "Augmenter": "augment",
        "Background": "image.stain",
        "EmbeddingDataModule": "datamodule",
        "Macenko": "image.stain",
        "Manifest": "files.manifest",
        "MaskSpec": "image.mask",
        "Preprocess": "image.preprocess",
        "Reinhard": "image.stain",
        "SmearDataModule": "datamodule",
        "Split": "split.parts",
        "build_manifest": "files.manifest",
        "file_split": "split.parts",
        "grouped_split": "split.grouped",
        "kfold_split": "split.grouped",
        "paint_smears": "synthetic",
        "paper_split": "split.protocols",
        "paper_views": "augment",
        "stratified_split": "split.protocols",
    },
)
