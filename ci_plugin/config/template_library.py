"""The one home of gotpl: sprig's functions, Go's ``fmt`` and RE2, imported when a template first needs one.

Importing it takes longer than reading a configuration of a hundred images, and most templates use nothing that ``template_quick`` does not
do; so the names of sprig's functions are written down here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

NAMES = frozenset(
    """
    abbrev abbrevboth add add1 add1f addf adler32sum ago all any append atoi b32dec b32enc b64dec b64enc base bcrypt biggest
    buildCustomCert camelcase cat ceil chunk clean coalesce compact concat contains date dateInZone dateModify date_in_zone date_modify
    decryptAES deepCopy deepEqual default derivePassword dict dig dir div divf duration durationRound empty encryptAES env expandenv ext
    fail first float64 floor fromJson genCA genCAWithKey genPrivateKey genSelfSignedCert genSelfSignedCertWithKey genSignedCert
    genSignedCertWithKey get getHostByName has hasKey hasPrefix hasSuffix hello htmlDate htmlDateInZone htpasswd indent initial initials
    int int64 isAbs join kebabcase keys kindIs kindOf last list lower max maxf merge mergeOverwrite min minf mod mul mulf mustAppend
    mustChunk mustCompact mustDateModify mustDeepCopy mustFirst mustFromJson mustHas mustInitial mustLast mustMerge mustMergeOverwrite
    mustPrepend mustPush mustRegexFind mustRegexFindAll mustRegexMatch mustRegexReplaceAll mustRegexReplaceAllLiteral mustRegexSplit
    mustRest mustReverse mustSlice mustToDate mustToJson mustToPrettyJson mustToRawJson mustUniq mustWithout must_date_modify nindent
    nospace now omit osBase osClean osDir osExt osIsAbs pick pluck plural prepend push quote randAlpha randAlphaNum randAscii randBytes
    randInt randNumeric regexFind regexFindAll regexMatch regexQuoteMeta regexReplaceAll regexReplaceAllLiteral regexSplit repeat replace
    rest reverse round semver semverCompare seq set sha1sum sha256sum sha512sum shuffle slice snakecase sortAlpha split splitList splitn
    squote sub subf substr swapcase ternary title toDate toDecimal toJson toPrettyJson toRawJson toString toStrings trim trimAll
    trimPrefix trimSuffix trimall trunc tuple typeIs typeIsLike typeOf uniq unixEpoch unset until untilStep untitle upper urlJoin urlParse
    uuidv4 values without wrap wrapWith
    """.split()  # noqa: SIM905  # a list of 211 strings says less
)


@cache
def _sprig() -> Mapping[str, Callable[..., object]]:
    from gotpl.funcs.sprig import text_func_map

    found: Mapping[str, Callable[..., object]] = text_func_map()
    return found


def sprig(name: str) -> Callable[..., object]:
    """One of sprig's functions; what it gives goes through ``given``."""
    return _sprig()[name]


def given(result: object) -> object:
    """The value of a result. Raises the function's own error."""
    from gotpl.runtime.results import unwrap_function_result

    value: object = unwrap_function_result(result)
    return value


@cache
def _sprintf() -> Callable[..., Any]:
    from gotpl.runtime.gofmt import sprintf

    found: Callable[..., Any] = sprintf
    return found


def sprintf(layout: str, *values: object) -> str:
    """Go's ``fmt.Sprintf``."""
    return str(_sprintf()(layout, *values))


def regex_instructions(pattern: str) -> int:
    """How many instructions a pattern has, 0 for one that is simple. Raises ``re.error`` for none."""
    from gotpl.funcs.sprig.regex import _compile

    return int(getattr(_compile(pattern), "instruction_count", 0))
