"""The published checkpoint as data: which files, with which hashes, from where, under which licence.

The hashes are pinned here rather than asked of the hub: whatever a mirror sends, only the published bytes are used.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Dict, Tuple
from urllib.parse import quote

REPOSITORY = "2Noise/ChatTTS"

LICENCE_NOTICE = (
    "The published ChatTTS weights (2Noise/ChatTTS) are licensed CC BY-NC 4.0: attribution required, no commercial use "
    "(https://creativecommons.org/licenses/by-nc/4.0/). This project is not an official build of them and does not "
    "change that licence."
)


@dataclass(frozen=True)
class PublishedFile:
    """One file of the published checkpoint."""

    path: str
    """Below the repository's root, with forward slashes."""
    sha256: str
    min_bytes: int
    """Of a safetensors file, what its tensors take (its header comes on top); of any other, its exact size."""

    @property
    def max_bytes(self) -> int:
        """More than this is certainly another file: a hub's answer is not read beyond it."""
        return self.min_bytes + (1 << 20) if self.path.endswith(".safetensors") else self.min_bytes


PUBLISHED_FILES: Tuple[PublishedFile, ...] = (
    # Small files first: a wrong repository or a blocked network shows before anything large is fetched.
    PublishedFile("asset/gpt/config.json", "0aaa1ecd96c49ad4f473459eb1982fa7ad79fa5de08cde2781bf6ad1f9a0c236", 762),
    PublishedFile(
        "asset/tokenizer/special_tokens_map.json",
        "bd0ac9d9bb1657996b5c5fbcaa7d80f8de530d01a283da97f89deae5b1b8d011",
        7_847,
    ),
    PublishedFile(
        "asset/tokenizer/tokenizer_config.json",
        "43e9d658b554fa5ee8d8e1d763349323bfef1ed7a89c0794220ab8861387d421",
        11_028,
    ),
    PublishedFile(
        "asset/tokenizer/tokenizer.json",
        "843838a64e121e23e774cc75874c6fe862198d9f7dd43747914633a8fd89c20e",
        448_604,
    ),
    PublishedFile(
        "asset/Vocos.safetensors", "07e5561491cce41f7f90cfdb94b2ff263ff5742c3d89339db99b17ad82cc3f44", 54_339_992
    ),
    PublishedFile(
        "asset/DVAE.safetensors", "1d0b044a8368c0513100a2eca98456b289e6be6a18b7a63be1bcaa315ea874d9", 60_333_888
    ),
    PublishedFile(
        "asset/Decoder.safetensors", "77aa55e0a977949c4733df3c6f876fa85860d3298cba63295a7bc6901729d4e0", 103_682_960
    ),
    PublishedFile(
        "asset/Embed.safetensors", "2ff0be7134934155741b643b74e32fb6bf3eec41257984459b2ed60cdb4c48b0", 145_596_936
    ),
    PublishedFile(
        "asset/gpt/model.safetensors",
        "cd0806fd971f52f6a22c923ec64982b305e817bcc41ca83417fcf9141b984a0f",
        853_404_672,
    ),
)


@dataclass(frozen=True)
class Source:
    """A hub that serves the published files."""

    name: str
    endpoint: str
    template: str
    """Address of a file, with ``{endpoint}`` and ``{path}``."""

    def address(self, path: str) -> str:
        """The address of the file at ``path``."""
        return self.template.format(endpoint=self.endpoint.rstrip("/"), path=quote(path))

    @property
    def takes_hugging_face_token(self) -> bool:
        """A token is shown to no other hub than the one it was issued for, or the one the user put in its place."""
        return self.name == "huggingface"


_HUGGING_FACE = "{endpoint}/2Noise/ChatTTS/resolve/main/{path}"

SOURCES: Dict[str, Source] = {
    "huggingface": Source("huggingface", "https://huggingface.co", _HUGGING_FACE),
    "mirror": Source("mirror", "https://hf-mirror.com", _HUGGING_FACE),
    "modelscope": Source(
        "modelscope", "https://www.modelscope.cn", "{endpoint}/models/pzc163/chatTTS/resolve/master/{path}"
    ),
}


def configured_source(name: str) -> Source:
    """The source of that name, its endpoint taken from ``HF_ENDPOINT`` or ``MODELSCOPE_ENDPOINT`` where set."""
    source = SOURCES[name]
    variable = {"huggingface": "HF_ENDPOINT", "modelscope": "MODELSCOPE_ENDPOINT"}.get(name)
    endpoint = os.environ.get(variable, "").strip() if variable else ""
    return Source(source.name, endpoint, source.template) if endpoint else source
