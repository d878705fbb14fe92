"""Function words of languages: texts of whole sentences have several, lists and tables have none.

The most frequent ones that stand by themselves and mean little in other languages. In Chinese and Japanese they are
single characters, since those scripts put no space between words; in Thai they are looked for inside the text.
"""

from __future__ import annotations

#: Gopher's eight (Rae et al. 2021, appendix A1.1), for English and where the language is not known.
GOPHER = ("the", "be", "to", "of", "and", "that", "have", "with")

_TABLES = {
    "ar": (
        "في من على إلى أن عن هذا هذه التي الذي كان كانت مع ما لا لم هو هي بين بعد قبل كل أو ثم قد كما عند غير أي حتى"
    ),
    "bg": (
        "на и в да се за от не че са по като си това със към до при или тя той те как но беше може което когато още"
    ),
    "ca": (
        "de la el i a que en els les un una per amb es del al no com més són va ha o és aquest aquesta també però fins"
    ),
    "cs": (
        "a v se na je že s z o do by to i k ve pro za ale jako po který která jsou byl nebo od při jeho také podle tak"
    ),
    "da": (
        "og i at det er en til på som af for med de den der ikke et var han har jeg vi fra men også om blev kan efter"
    ),
    "de": (
        "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an "
        "werden aus er hat dass sie nach wird bei einer um am sind noch wie einem über einen so zum war "
        "haben nur oder aber vor zur"
    ),
    "el": (
        "και το της η ο του να τα των με για που από είναι σε στο την οι τον στην δεν θα ένα μια ως τους τις αυτό στα"
    ),
    "en": (
        "the of and to in a is that for it as was with be by on not he his but at are this have from or "
        "had an they which you were there been their"
    ),
    "es": (
        "de la que el en y a los se del las un por con no una su para es al lo como más o pero sus le ha "
        "este si porque entre cuando muy sin sobre también fue"
    ),
    "et": (
        "ja on ei et see oli ta mis kui ka oma aga või ning siis kes nii selle seda veel kuid olid mida "
        "pärast enne juba"
    ),
    "fa": (
        "و در به از که این را با است برای آن یک خود تا بر هم نیز شد شده بود یا هر ها کرد دارد ما می باید دیگر پس اما"
    ),
    "fi": (
        "ja on ei se että hän oli myös mutta ovat kun tai joka jos kuin sen ne niin olla jotka mukaan "
        "sekä ole voi vain hänen vuonna jonka siitä kanssa"
    ),
    "fr": (
        "de la le et les des en un du une que est pour qui dans a par plus pas au sur ne se ce il sont "
        "avec ou son mais comme aux cette elle été ses leur ont"
    ),
    "he": ("של את על לא הוא זה עם כי היא או גם כל יותר אל בין אם היה אני מה אבל רק אשר עד ידי זו הם כמו היו לפני אחרי"),
    "hi": ("के का में की है से को और पर यह कि ने हैं एक भी इस नहीं था ही तो कर जो लिए वह अपने या गया थे थी साथ तक"),
    "hr": (
        "i u je na se da su za od s a koji kao o to ne iz do što bi sa po ili ali koja kod nakon između te bio također"
    ),
    "hu": (
        "a az és hogy nem is egy de ez volt van meg mint csak el már vagy ha azt még ezt lehet után "
        "között pedig kell minden akkor amely nagyon"
    ),
    "id": (
        "yang dan di dengan untuk dari ini dalam pada itu tidak adalah ke akan oleh juga ada atau sebagai "
        "telah karena mereka dapat bahwa lebih saya kami tersebut seperti"
    ),
    "it": (
        "di e il la che in un a per è una del con non i le si da al dei come della nel più anche ma gli "
        "alla sono lo delle su dal ha se o nella essere questo"
    ),
    "ja": "の に は を た が で と し れ さ て も な い ら り る す か へ よ だ ま",
    "ko": "그 이 및 수 등 것 한 그리고 있다 있는 대한 하는 위해 그는 또는 이는 더 때 중 또 한다 하지만 그러나 의 가 를",
    "lt": (
        "ir į kad iš su yra tai ne bet kaip buvo jis o už apie po nuo ar taip prie pat dėl jos jo iki dar tik kuris"
    ),
    "lv": ("un ir ka no par ar uz kas bet arī tas lai pie tika bija kā ne tā vai pēc jau līdz gan tikai nav viņš savu"),
    "nl": (
        "de het een en van in is dat op te zijn met voor niet aan er door als ook naar om bij uit maar "
        "die was heeft worden werd over wordt hij nog dan zich"
    ),
    "no": (
        "og i det er på en til som av for at med de den ikke et var han har jeg vi fra men også om ble kan etter eller"
    ),
    "pl": (
        "i w na z do się nie że to jest o jak od za po przez co tak dla ale przy są był oraz ma jego tego "
        "czy jako który była go być"
    ),
    "pt": (
        "de a o que e do da em um para com não uma os no se na por mais as dos como mas ao ele das à seu "
        "sua ou quando muito nos já também só pelo foi"
    ),
    "ro": (
        "de și în a la cu pe că nu este din o un care pentru mai se sau fi fost dar sunt ce prin după au "
        "ca al ale lui această acest"
    ),
    "ru": (
        "и в не на что он с как а то по это к но из у за от о же для она так его был бы или при только "
        "ещё они было который также"
    ),
    "sk": (
        "a v sa na je že s z o do by to aj k vo pre za ale ako po ktorý ktorá sú bol alebo od pri jeho tiež podľa tak"
    ),
    "sl": ("in je v na se da so za ki po s z ne pa tudi od kot bil bi do pri iz ter ali o ob bila kar še le med"),
    "sr": ("и у је на се да су за од са а који као о то не из до што би по или али која код након између те био"),
    "sv": (
        "och i att det som en på är av för med den till inte ett har de om var men han från kan så också "
        "eller efter när vid sin hade"
    ),
    "tr": (
        "ve bir bu da de için ile olarak çok daha olan gibi en ne var kadar sonra ancak olduğu ama ya ki "
        "her göre değil veya tarafından ise"
    ),
    "uk": (
        "і в на не що з у та до як це за від по але для він про його так або є були вона при який було також ще якщо"
    ),
    "ur": ("کے میں کی ہے اور سے کا کو اس کہ پر یہ ہیں نے ایک بھی نہیں تھا کر ہی تو جو گیا لیے وہ تھے اپنے یا ساتھ تک"),
    "vi": (
        "và của là có trong các được cho một không những với người này đã từ khi đến cũng như để về ra "
        "vào ở tại hay theo nhiều sau"
    ),
    "zh": "的 了 是 在 不 有 和 人 这 中 为 上 个 也 而 以 我 他 到 与 就 對 其 之 会 及 為 這 於",
}
#: Looked for anywhere in the text: words of a script without spaces, each of several characters.
INSIDE = {
    "th": (
        *("และ", "ของ", "ที่", "เป็น", "ใน", "การ", "มี", "ได้", "ให้"),
        *("ไม่", "จะ", "ว่า", "ไป", "กับ", "โดย", "จาก", "นี้", "แต่"),
        *("หรือ", "ก็", "ต้อง", "คือ", "อยู่", "ความ", "เพื่อ", "ซึ่ง"),
    ),
}
_SAME = {"nb": "no", "nn": "no", "in": "id", "iw": "he", "ms": "id", "yue": "zh", "wuu": "zh", "bs": "hr", "sh": "hr"}
_MOST = 62  # a text's words are kept as the bits of one number


def primary(language: str) -> str:
    """The language of a BCP 47 tag, less its script and region: "en" of "en-GB"."""
    code = language.lower().replace("_", "-").split("-")[0]
    return _SAME.get(code, code)


def stop_words(language: str) -> tuple[str, ...]:
    """The function words of a language (BCP 47), none where there is no table."""
    words = tuple(dict.fromkeys(_TABLES.get(primary(language), "").split()))
    return words[:_MOST] or INSIDE.get(primary(language), ())


def languages() -> tuple[str, ...]:
    """The languages that have a table."""
    return tuple(sorted({*_TABLES, *INSIDE}))
