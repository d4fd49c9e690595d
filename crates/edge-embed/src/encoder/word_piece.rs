//! The tokens of a folder, if its tokenizer is BERT uncased.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::bounded::{Few, Setting};
use super::error::LoadError;
use super::folder::{TOKENIZER, TOKENIZER_SETTINGS, VOCABULARY, json};
use super::parts::VOCABULARY_MAX;

#[derive(Deserialize)]
struct File {
    model: Model,
    normalizer: Option<Normalizer>,
    pre_tokenizer: Option<Kind>,
    post_processor: Option<Processor>,
    #[serde(default)]
    added_tokens: Few<Added, 4096>,
}

#[derive(Deserialize)]
struct Model {
    #[serde(default)]
    r#type: Setting,
    #[serde(default)]
    unk_token: Setting,
    #[serde(default)]
    continuing_subword_prefix: Setting,
    #[serde(default)]
    max_input_chars_per_word: Setting,
    merges: Option<IgnoredAny>,
    vocab: Option<Vocabulary>,
}

#[derive(Deserialize)]
struct Kind {
    #[serde(default)]
    r#type: Setting,
}

#[derive(Deserialize)]
struct Normalizer {
    #[serde(default)]
    r#type: Setting,
    #[serde(default)]
    lowercase: Setting,
    #[serde(default)]
    clean_text: Setting,
    #[serde(default)]
    handle_chinese_chars: Setting,
    #[serde(default)]
    strip_accents: Setting,
}

#[derive(Deserialize)]
struct Processor {
    #[serde(default)]
    r#type: Setting,
    #[serde(default)]
    cls: Few<Setting, 2>,
    #[serde(default)]
    sep: Few<Setting, 2>,
    #[serde(default)]
    single: Few<Piece, 16>,
}

#[derive(Deserialize)]
struct Piece {
    #[serde(rename = "SpecialToken")]
    special: Option<Id>,
    #[serde(rename = "Sequence")]
    sequence: Option<Id>,
}

#[derive(Deserialize)]
struct Id {
    #[serde(default)]
    id: Setting,
}

#[derive(Deserialize)]
struct Added {
    content: String,
    id: u64,
    #[serde(default)]
    special: bool,
}

/// `model.vocab`: ids by token; `None` where it is the list of another kind of tokenizer.
struct Vocabulary(Option<BTreeMap<String, u64>>);

impl<'de> Deserialize<'de> for Vocabulary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Vocabulary;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tokens and their ids")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vocabulary, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Vocabulary(None))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vocabulary, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some((token, id)) = map.next_entry::<String, u64>()? {
                    if entries.len() == VOCABULARY_MAX {
                        let why = format!("more than {VOCABULARY_MAX} tokens");
                        return Err(A::Error::custom(why));
                    }
                    let name: String = token.chars().take(40).collect();
                    if entries.insert(token, id).is_some() {
                        return Err(A::Error::custom(format!("token {name:?} occurs twice")));
                    }
                }
                Ok(Vocabulary(Some(entries)))
            }
        }
        deserializer.deserialize_any(Entries)
    }
}

/// The tokens by id of a `tokenizer.json`.
pub(super) fn tokens_of_json(text: &[u8]) -> Result<Vec<String>, LoadError> {
    let file: File = json(TOKENIZER, text)?;
    file.check()?;
    let vocabulary = file.model.vocab.and_then(|vocabulary| vocabulary.0);
    let vocabulary = vocabulary.ok_or_else(|| LoadError::malformed(TOKENIZER, "no model.vocab"))?;
    for added in &file.added_tokens.0 {
        let known = vocabulary.get(&added.content) == Some(&added.id) && added.special;
        let value = Setting(added.content.as_str().into());
        expect("added_tokens", &value, known, "special tokens of the vocabulary")?;
    }
    let count = vocabulary.len();
    let mut tokens = vec![None; count];
    for (token, id) in vocabulary {
        match usize::try_from(id).ok().and_then(|id| tokens.get_mut(id)) {
            Some(slot @ None) => *slot = Some(token),
            _ => {
                let token: String = token.chars().take(40).collect();
                let why = format!("{token:?} has the id {id}: not one below {count}, each once");
                return Err(LoadError::malformed(TOKENIZER, why));
            }
        }
    }
    Ok(tokens.into_iter().flatten().collect())
}

fn expect(
    setting: &'static str,
    value: &Setting,
    fits: bool,
    supported: &'static str,
) -> Result<(), LoadError> {
    if fits {
        return Ok(());
    }
    Err(LoadError::Unsupported { file: TOKENIZER, setting, value: value.to_string(), supported })
}

impl File {
    /// That everything but the vocabulary is that of BERT uncased.
    fn check(&self) -> Result<(), LoadError> {
        let null = Setting::default();
        let model = &self.model;
        // Files of 2020 and before leave the type out.
        let unnamed = model.r#type.is_null() && model.merges.is_none();
        let kind = &model.r#type;
        expect("model.type", kind, unnamed || *kind == *"WordPiece", "WordPiece")?;
        let unknown = &model.unk_token;
        expect("model.unk_token", unknown, *unknown == *"[UNK]", "[UNK]")?;
        let prefix = &model.continuing_subword_prefix;
        expect("model.continuing_subword_prefix", prefix, *prefix == *"##", "##")?;
        let longest = &model.max_input_chars_per_word;
        expect("model.max_input_chars_per_word", longest, longest.0 == 100, "100")?;
        let kind = self.normalizer.as_ref().map_or(&null, |normalizer| &normalizer.r#type);
        expect("normalizer.type", kind, *kind == *"BertNormalizer", "BertNormalizer")?;
        let kind = self.pre_tokenizer.as_ref().map_or(&null, |splitter| &splitter.r#type);
        expect("pre_tokenizer.type", kind, *kind == *"BertPreTokenizer", "BertPreTokenizer")?;
        for (setting, value) in self.normalizer.iter().flat_map(|n| {
            [
                ("lowercase", &n.lowercase),
                ("clean_text", &n.clean_text),
                ("handle_chinese_chars", &n.handle_chinese_chars),
            ]
        }) {
            expect(setting, value, *value == true, "true (BERT uncased)")?;
        }
        if let Some(normalizer) = &self.normalizer {
            let strip = &normalizer.strip_accents;
            let strips = strip.is_null() || *strip == true;
            expect("strip_accents", strip, strips, "true or null (BERT uncased)")?;
        }
        let kind = self.post_processor.as_ref().map_or(&null, |processor| &processor.r#type);
        let frames = self.post_processor.as_ref().is_some_and(Processor::frames);
        expect("post_processor", kind, frames, "[CLS] text [SEP]")
    }
}

impl Processor {
    /// Whether it puts `[CLS]` before a text and `[SEP]` behind it.
    fn frames(&self) -> bool {
        if self.r#type == *"BertProcessing" {
            let names = |list: &Few<Setting, 2>, name: &str| {
                list.0.first().is_some_and(|first| *first == *name)
            };
            return names(&self.cls, "[CLS]") && names(&self.sep, "[SEP]");
        }
        let is = |id: &Option<Id>, name: &str| id.as_ref().is_some_and(|id| id.id == *name);
        let [cls, text, sep] = &self.single.0[..] else { return false };
        self.r#type == *"TemplateProcessing"
            && is(&cls.special, "[CLS]")
            && is(&text.sequence, "A")
            && is(&sep.special, "[SEP]")
    }
}

/// The tokens of a `vocab.txt`, one a line.
pub(super) fn tokens_of_lines(text: &[u8]) -> Result<Vec<String>, LoadError> {
    super::folder::limit(VOCABULARY, text)?;
    let text =
        std::str::from_utf8(text).map_err(|error| LoadError::malformed(VOCABULARY, error))?;
    if text.lines().nth(VOCABULARY_MAX).is_some() {
        return Err(LoadError::malformed(VOCABULARY, format!("more than {VOCABULARY_MAX} lines")));
    }
    Ok(text.lines().map(str::to_owned).collect())
}

/// What `tokenizer_config.json` says that `tokenizer.json` may contradict: its readers follow the former.
#[derive(Deserialize, Default)]
pub(super) struct TokenizerSettings {
    #[serde(default)]
    tokenizer_class: Setting,
    #[serde(default)]
    do_lower_case: Setting,
    #[serde(default)]
    strip_accents: Setting,
    #[serde(default)]
    tokenize_chinese_chars: Setting,
    #[serde(default)]
    truncation_side: Setting,
    /// Often 1e30, for no limit.
    #[serde(default)]
    model_max_length: Setting,
}

impl TokenizerSettings {
    pub(super) fn read(text: &[u8]) -> Result<Self, LoadError> {
        json(TOKENIZER_SETTINGS, text)
    }

    /// That these settings are those of BERT uncased too. Without a `tokenizer.json` (`alone`) the class says
    /// how to read `vocab.txt`.
    pub(super) fn check(&self, alone: bool) -> Result<(), LoadError> {
        let expect = |setting, value: &Setting, fits: bool, supported| {
            if fits || value.is_null() {
                return Ok(());
            }
            let value = value.to_string();
            Err(LoadError::Unsupported { file: TOKENIZER_SETTINGS, setting, value, supported })
        };
        let class = &self.tokenizer_class;
        let known = ["BertTokenizer", "BertTokenizerFast", "DistilBertTokenizer"];
        let known = !alone || known.iter().any(|name| *class == **name);
        expect("tokenizer_class", class, known, "BertTokenizer")?;
        let uncased = "true (BERT uncased)";
        expect("do_lower_case", &self.do_lower_case, self.do_lower_case == true, uncased)?;
        expect("strip_accents", &self.strip_accents, self.strip_accents == true, uncased)?;
        let chinese = &self.tokenize_chinese_chars;
        expect("tokenize_chinese_chars", chinese, *chinese == true, uncased)?;
        let side = &self.truncation_side;
        expect("truncation_side", side, *side == *"right", "right")
    }

    /// `model_max_length`, where it is a number.
    pub(super) fn tokens_max(&self) -> Option<u32> {
        // The conversion saturates.
        self.model_max_length.0.as_f64().map(|length| length as u32)
    }
}
