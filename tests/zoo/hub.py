"""KerasHub's constructors, with random weights and small sizes; the library is imported when one is made."""

from __future__ import annotations

from collections.abc import Callable

import keras

_TEXT = {"vocabulary_size": 20, "num_layers": 2, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 40}
_SHORT = {"max_sequence_length": 16}
_GROUPED = {
    **{name: _TEXT[name] for name in ("vocabulary_size", "num_layers", "hidden_dim", "intermediate_dim")},
    "num_query_heads": 4,
    "num_key_value_heads": 2,
}
_RESNET = {
    "input_conv_filters": [64],
    "input_conv_kernel_sizes": [3],
    "stackwise_num_filters": [64, 32],
    "stackwise_num_blocks": [2, 2],
    "stackwise_num_strides": [1, 2],
    "block_type": "basic_block",
    "image_shape": (32, 32, 3),
}
_EFFICIENT = {
    "stackwise_kernel_sizes": [3, 5],
    "stackwise_num_repeats": [1, 2],
    "stackwise_input_filters": [16, 16],
    "stackwise_output_filters": [16, 24],
    "stackwise_expansion_ratios": [1, 4],
    "stackwise_squeeze_and_excite_ratios": [0.25, 0.25],
    "stackwise_strides": [1, 2],
    "stackwise_block_types": ["unfused", "fused"],
    "stackwise_force_input_filters": [0, 0],
    "stackwise_nores_option": [False, False],
    "stackwise_width_coefficients": [1.0, 1.0],
    "stackwise_depth_coefficients": [1.0, 1.0],
    "num_features": 64,
    "input_shape": (32, 32, 3),
}
_MOBILE = {
    "stackwise_expansion": [[24, 32], [48]],
    "stackwise_num_blocks": [2, 1],
    "stackwise_num_filters": [[12, 12], [16]],
    "stackwise_kernel_size": [[3, 3], [5]],
    "stackwise_num_strides": [[2, 1], [1]],
    "stackwise_se_ratio": [[None, None], [0.25]],
    "stackwise_activation": [["relu", "relu"], ["hard_swish"]],
    "stackwise_padding": [[1, 1], [2]],
    "output_num_filters": 48,
    "depthwise_filters": 8,
    "depthwise_stride": 2,
    "depthwise_residual": False,
    "last_layer_filter": 64,
    "squeeze_and_excite": 0.5,
    "image_shape": (32, 32, 3),
}
_MIT = {
    "layerwise_depths": [1, 1],
    "num_layers": 2,
    "layerwise_num_heads": [1, 2],
    "layerwise_sr_ratios": [4, 2],
    "max_drop_path_rate": 0.1,
    "layerwise_patch_sizes": [7, 3],
    "layerwise_strides": [4, 2],
    "hidden_dims": [12, 16],
    "image_shape": (32, 32, 3),
}
_VIT = {
    "image_shape": (16, 16, 3),
    "patch_size": (4, 4),
    "num_layers": 2,
    "num_heads": 2,
    "hidden_dim": 16,
    "mlp_dim": 40,
}


def _backbone(family: str, **options) -> Callable[[], keras.Model]:
    return lambda: getattr(_models(), f"{family}Backbone")(**options)


def _task(name: str, backbone: Callable[[], keras.Model], **options) -> Callable[[], keras.Model]:
    """A model of an own class with a backbone in it; without what prepares text or images."""
    return lambda: getattr(_models(), name)(backbone=backbone(), preprocessor=None, **options)


def _segformer() -> keras.Model:
    return _models().SegFormerBackbone(image_encoder=_models().MiTBackbone(**_MIT), projection_filters=16)


def _models():
    import keras_hub

    return keras_hub.models


NETWORKS = {
    "Bert": _backbone("Bert", **_TEXT, **_SHORT),
    "DistilBert": _backbone("DistilBert", **_TEXT, **_SHORT),
    "Roberta": _backbone("Roberta", **_TEXT, **_SHORT),
    "Albert": _backbone("Albert", **_TEXT, **_SHORT, embedding_dim=12),
    "DebertaV3": _backbone("DebertaV3", **_TEXT, **_SHORT, bucket_size=8),
    "GPT2": _backbone("GPT2", **_TEXT, **_SHORT),
    "GPTNeoX": _backbone("GPTNeoX", **_TEXT, **_SHORT),
    "OPT": _backbone("OPT", **_TEXT, **_SHORT),
    "Llama": _backbone("Llama", **_GROUPED),
    "Gemma": _backbone("Gemma", **_GROUPED, head_dim=4),
    "T5": _backbone("T5", **_TEXT),
    "Bart": _backbone("Bart", **_TEXT, **_SHORT),
    "Whisper": _backbone("Whisper", **_TEXT, max_encoder_sequence_length=16, max_decoder_sequence_length=16),
    "ViT": _backbone("ViT", **_VIT),
    "ResNet": _backbone("ResNet", **_RESNET),
    "EfficientNet": _backbone("EfficientNet", **_EFFICIENT),
    "MobileNet": _backbone("MobileNet", **_MOBILE),
    "MiT": _backbone("MiT", **_MIT),
    "SegFormer": _segformer,
    "BertTextClassifier": _task("BertTextClassifier", _backbone("Bert", **_TEXT, **_SHORT), num_classes=3),
    "ResNetImageClassifier": _task("ResNetImageClassifier", _backbone("ResNet", **_RESNET), num_classes=5),
}
