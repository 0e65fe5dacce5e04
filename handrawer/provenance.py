"""Marks in a picture's file that say where the picture comes from: IPTC's digital source type, in XMP.

See docs/provenance.md for the reason. The vocabulary: http://cv.iptc.org/newscodes/digitalsourcetype/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.PngImagePlugin import PngInfo

VOCABULARY = "http://cv.iptc.org/newscodes/digitalsourcetype/"
MADE, COMPOSITE, NONE = "made by a model", "photo with parts made by a model", "no mark"
SOURCES: dict[str, str] = {
    MADE: VOCABULARY + "trainedAlgorithmicMedia",
    COMPOSITE: VOCABULARY + "compositeWithTrainedAlgorithmicMedia",
    NONE: "",
}
XMP_KEYWORD = "XML:com.adobe.xmp"  # of the PNG text chunk, by Adobe's XMP specification, part 3

_PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
   <Iptc4xmpExt:DigitalSourceType>{source}</Iptc4xmpExt:DigitalSourceType>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""


def xmp_packet(source: str) -> str:
    """An XMP packet with the digital source type, one of the vocabulary's addresses."""
    if not source.startswith(VOCABULARY):
        raise ValueError(f"{source!r} is no digital source type of IPTC: they begin with {VOCABULARY}.")
    return _PACKET.format(source=source)


def png_metadata(texts: Mapping[str, str], source: str | None) -> PngInfo:
    """What Pillow writes into a PNG file: texts by name, and the digital source type where there is one."""
    from PIL.PngImagePlugin import PngInfo

    told = PngInfo()
    for name, text in texts.items():
        told.add_text(name, text)
    if source:
        told.add_itxt(XMP_KEYWORD, xmp_packet(source))
    return told


def read_source(path: str | Path) -> str | None:
    """The digital source type of a PNG file, None where it has none."""
    from PIL import Image

    with Image.open(path) as picture:
        packet = getattr(picture, "text", {}).get(XMP_KEYWORD)
    found = re.search(r"<Iptc4xmpExt:DigitalSourceType>([^<]+)</", packet or "")
    return found[1] if found else None
