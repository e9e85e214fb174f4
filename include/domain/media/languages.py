"""Language tags of containers (ISO 639-2, or anything) as the BCP 47 tags that manifests use."""

from __future__ import annotations

import re

UNDETERMINED = "und"
_TAG = re.compile(r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$")
_LONG_TO_SHORT = """
alb=sq sqi=sq ara=ar arm=hy hye=hy aze=az baq=eu eus=eu bel=be ben=bn bos=bs bul=bg bur=my mya=my cat=ca ces=cs chi=zh
zho=zh cym=cy wel=cy cze=cs dan=da deu=de dut=nl ell=el eng=en epo=eo est=et fas=fa fin=fi fra=fr fre=fr geo=ka kat=ka
ger=de gle=ga glg=gl gre=el guj=gu heb=he hin=hi hrv=hr hun=hu ice=is isl=is ind=id ita=it jpn=ja kan=kn kaz=kk khm=km
kor=ko lat=la lav=lv lit=lt mac=mk mkd=mk mal=ml mar=mr may=ms msa=ms mon=mn nep=ne nld=nl nob=nb nno=nn nor=no pan=pa
per=fa pol=pl por=pt ron=ro rum=ro rus=ru sin=si slk=sk slo=sk slv=sl spa=es srp=sr swa=sw swe=sv tam=ta tel=te tha=th
tgl=tl tur=tr ukr=uk urd=ur uzb=uz vie=vi zul=zu
"""
_SHORT = dict(pair.split("=") for pair in _LONG_TO_SHORT.split())


def language_tag(value: str | None) -> str:
    """``eng`` becomes ``en``; a known shape passes; anything else is ``und``."""
    text = (value or "").strip().replace("_", "-")
    if not _TAG.match(text):
        return UNDETERMINED
    primary, _, rest = text.partition("-")
    primary = _SHORT.get(primary.lower(), primary.lower())
    return f"{primary}-{rest}" if rest else primary
