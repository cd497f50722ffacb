//! The words that `suspicion` goes by.
//!
//! Purpose: data, apart from the code that uses it. Stems are matched after folding (lower case, no accents).
//! Promises: a phrase of [`STRONG`] or a mark of [`MARKS`] is enough alone; the other lists count in pairs.
//! Never: complete. Extend it when a log shows what is missing; the bounds hold without it.

/// Phrases that no log has a use for, matched without regard to what stands between their letters.
#[rustfmt::skip]
pub const STRONG: &[&str] = &[
    "ignore previous", "ignore all previous", "ignore the previous", "ignore the above", "ignore all above", "ignore prior", "ignore your",
    "ignore all instructions", "ignore these instructions", "ignore the instructions", "ignore everything", "disregard previous", "disregard all", "disregard the", "disregard your",
    "forget previous", "forget all", "forget your", "forget everything", "override your", "previous instructions",
    "new instructions", "system prompt", "developer message", "language model", "large language", "you are now",
    "you are an ai", "you are a helpful", "as an ai", "dear ai", "dear model", "note to ai", "note to the ai", "note to model", "note to the model", "note to llm",
    "attention ai", "attention model", "attention llm", "attention all ai", "hey ai", "hello ai", "message to the ai", "instruction to", "instructions to the", "jailbreak", "developer mode",
    "do anything now", "chatgpt", "openai assistant", "end of log data", "end of logs", "end of data", "end of patterns", "begin instructions", "every other pattern",
    "all other patterns", "other patterns", "all patterns", "every pattern", "these patterns", "pattern number", "worth zero", "worth of zero", "zero worth", "score zero", "score of zero", "worth ten",
    "score ten", "set worth", "set the worth", "set score", "set the score", "assign worth", "assign score", "assign a score",
    "give it a score", "give this a", "rate this", "rate everything", "rate all", "score this", "score everything", "score all", "must score", "must rate", "should score",
    "highest score", "lowest score", "maximum score", "minimum score", "maximum worth", "minimum worth", "stop scoring", "to whoever scores",
    "answer only with", "respond only with", "reply only with", "respond with json", "output the following", "return the following json", "print your",
    "reveal your", "repeat your instructions", "follow these", "obey", "act as a", "pretend to be", "pretend you", "role play",
];

/// Marks of chat templates, of our own answers, and of delimiters, in the text as it stands (lower case).
#[rustfmt::skip]
pub const MARKS: &[&str] = &[
    "<|", "|>", "[inst", "[/inst", "<<sys", "<</sys", "</s>", "<start_of_turn", "<end_of_turn", "<eos>", "<bos>", "[system]", "[assistant]", "[user]",
    "<system", "</system", "<assistant", "</assistant", "<user>", "</user>", "<instruction", "</instruction", "<prompt", "</prompt", "</patterns", "</data", "</log", "<tool_call",
    "<function_call", "tool_use", "```", "### ", "##system", "assistant:", "human:", "\nuser:", "\nsystem:", "system: you", "system:you",
    "\"worth\"", "\"scores\"", "'worth'", "'scores'", "worth\":", "scores\":", "{{", "{%", "<!--", "==== end", "---- end", "-----end patterns", "<\u{ff5c}", "im_start", "im_end", "begin_of_text", "eot_id", "endoftext",
];

/// "Ignore", "forget", "override".
#[rustfmt::skip]
pub const OVERRIDE: &[&str] = &[
    "ignor", "disregard", "forget", "overrid", "overrul", "bypass", "neglect", "supersede",
    "missacht", "vergiss", "ubergeh", "oubli", "olvid", "omit", "esquec", "desconsider", "dimentic", "negeer", "vergeet", "zapomn", "pomin", "pomij", "glom",
    "abaikan", "lupakan", "yok say", "unut", "bo qua", "lo di", "игнор", "забудь", "пренебр", "ігнор", "αγνοησ", "忽略", "忽視", "忽视", "无视", "無視", "忘记", "忘記", "忘れ", "무시", "잊어", "تجاهل", "התעלמ", "התעלם", "שכח",
    "अनदेखा", "नजरअंदाज", "भूल", "ละเว้น", "เพิกเฉย", "ไม่ต้องสนใจ",
];

/// What is to be ignored: instructions, rules, what stands before.
#[rustfmt::skip]
pub const TARGET: &[&str] = &[
    "instruction", "guideline", "directive", "prompt", "previous", "above", "rules", "preceding", "earlier", "prior",
    "anweisung", "vorgabe", "vorherig", "bisherig", "regeln", "consigne", "precedent", "instruccion", "anterior", "reglas", "instruco", "instrucao", "regras", "istruzion", "precedenti",
    "instructie", "voorgaande", "vorige", "instrukc", "poprzedni", "pokyn", "predchozi", "instruktion", "foregaende", "instruksi", "sebelumnya", "talimat", "onceki", "huong dan", "chi dan", "truoc do",
    "инструкц", "указан", "предыдущ", "правил", "інструкц", "попередн", "οδηγι", "προηγουμεν", "指令", "指示", "说明", "說明", "之前", "以前の", "提示词", "提示詞", "命令", "지시", "이전", "명령", "تعليمات", "السابق", "الأوامر", "הוראות", "הקודמ",
    "निर्देश", "पिछल", "คำสั่ง", "ก่อนหน้า",
];

/// Whoever reads: a model, an assistant, "you must".
#[rustfmt::skip]
pub const ADDRESS: &[&str] = &[
    "llm", "assistant", "chatbot", "you must", "you are", "you should", "you will", "you have to", "your task", "your job", "your answer", "classifier", "evaluator", "grader", "rater", "scorer",
    "ai model", "the model must", "the model should", "the model will", "this model", "gpt", "claude", "gemini", "llama", "mistral", "sprachmodell", "ki modell", "du bist", "du musst", "sie mussen", "modele de langage", "tu dois", "vous devez", "tu es",
    "modelo de lengua", "debes", "tienes que", "modelo de ling", "voce deve", "modello linguistic", "devi dare", "devi dire", "taalmodel", "je moet", "model jezykow", "musisz", "jazykovy model", "musis", "sprakmodell", "model bahasa", "anda harus", "dil modeli", "mo hinh ngon ngu",
    "языков", "ты должен", "вы должны", "модель", "мовна модель", "γλωσσικο μοντελο", "πρεπει να", "语言模型", "語言模型", "言語モデル", "助手", "你必须", "你必須", "你是", "请将", "請將", "请把", "してください", "あなたは", "언어 모델", "당신은", "하세요", "하십시오", "نموذج", "يجب عليك", "אתה חייב", "מודל שפה", "भाषा मॉडल", "आपको", "แบบจำลองภาษา", "คุณต้อง",
];

/// Scores, worth, ratings.
#[rustfmt::skip]
pub const SCORING: &[&str] = &[
    "worth", "score", "scoring", "rating", "ranking", "importance", "unimportant", "useless", "sampling rate", "valuable", "irrelevant",
    "bewert", "punktzahl", "wertlos", "wichtigkeit", "valeur", "notez", "sans valeur", "importanc", "puntuacion", "puntaje", "sin valor", "pontuac", "sem valor", "punteggio", "senza valore", "waarde", "waardeloos",
    "wartosc", "ocen", "bezwart", "hodnot", "skore", "bezcen", "poang", "vardelos", "varde", "skor", "nilai", "puan", "deger", "diem so", "gia tri",
    "оценк", "ценност", "балл", "бесполез", "оцінк", "цінніст", "βαθμολογ", "αξια", "分数", "分數", "评分", "評分", "打分", "价值", "價值", "評価", "点数", "スコア", "価値", "점수", "가치", "평가", "درجة", "قيمة", "تقييم", "ציון", "ערך", "स्कोर", "मूल्य", "अंक", "คะแนน", "มูลค่า",
];

/// Throw away, hide.
#[rustfmt::skip]
pub const DISCARD: &[&str] = &[
    "drop", "discard", "delete", "remove", "suppress", "hide", "silence", "filter out", "do not keep", "never keep", "do not store", "stop keeping",
    "verwerf", "losch", "unterdruck", "supprim", "jette", "elimin", "descart", "borra", "apague", "scart", "cancell", "verwijder", "gooi", "usun", "odrzuc", "smaz", "zahod", "kasta", "radera", "hapus", "buang", "xoa", "loai bo",
    "отброс", "удал", "скрой", "выброс", "відкин", "видал", "απορριψ", "διαγραψ", "丢弃", "丟棄", "删除", "刪除", "丢掉", "破棄", "捨て", "削除", "버려", "버리", "삭제", "احذف", "أسقط", "מחק", "השלך", "हटा", "मिटा", "ลบ", "ทิ้ง",
];

/// Everything else.
#[rustfmt::skip]
pub const OTHERS: &[&str] = &[
    "all others", "all other", "every other", "the others", "other lines", "other logs", "other entries", "everything else", "the rest", "all the rest", "all errors", "every error", "all logs", "all entries", "all records", "all lines",
    "alle anderen", "alle andere", "alles andere", "tous les autres", "toutes les autres", "todos los demas", "todas las demas", "los demas", "todos os outros", "todas as outras", "os demais", "tutti gli altri", "tutte le altre", "wszystkie inne", "wszystkie pozostale", "vsechny ostatni", "ostatni", "alla andra", "semua yang lain", "yang lain", "diger", "digerlerini", "tat ca cac", "khac",
    "все остальн", "остальные", "всі інш", "решту", "ολα τα αλλα", "αλλα", "其他", "其它", "所有", "他の", "その他", "すべて", "全て", "다른", "나머지", "모든", "الأخرى", "جميع", "האחרים", "अन्य", "बाकी", "सभी", "อื่น", "ทั้งหมด",
];

/// Letters of other scripts that look like Latin ones, in lower case.
#[rustfmt::skip]
pub const LOOK_ALIKES: &[(char, char)] = &[
    ('а', 'a'), ('с', 'c'), ('ԁ', 'd'), ('е', 'e'), ('һ', 'h'), ('і', 'i'), ('ј', 'j'), ('к', 'k'), ('ӏ', 'l'), ('м', 'm'), ('о', 'o'), ('р', 'p'), ('ԛ', 'q'),
    ('ѕ', 's'), ('т', 't'), ('ѵ', 'v'), ('ԝ', 'w'), ('х', 'x'), ('у', 'y'), ('в', 'b'), ('н', 'h'), ('г', 'r'), ('п', 'n'),
    ('α', 'a'), ('ε', 'e'), ('η', 'n'), ('ι', 'i'), ('κ', 'k'), ('ν', 'v'), ('ο', 'o'), ('ρ', 'p'), ('τ', 't'), ('υ', 'u'), ('χ', 'x'), ('ɡ', 'g'), ('ɩ', 'i'), ('ʀ', 'r'), ('ɴ', 'n'), ('ɪ', 'i'), ('ᴏ', 'o'), ('ᴇ', 'e'), ('ø', 'o'), ('ı', 'i'), ('ł', 'l'),
];

/// Digits and signs that stand for letters.
#[rustfmt::skip]
pub const DIGITS_FOR_LETTERS: &[(char, char)] = &[
    ('0', 'o'), ('1', 'i'), ('3', 'e'), ('4', 'a'), ('5', 's'), ('7', 't'), ('8', 'b'), ('9', 'g'), ('@', 'a'), ('$', 's'), ('!', 'i'), ('+', 't'), ('|', 'l'),
];
