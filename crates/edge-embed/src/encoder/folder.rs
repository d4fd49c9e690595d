//! The files of a sentence-transformers folder.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::LoadError;
use super::parts::{Parts, Shape};
use super::safetensors::Tensors;
use edge_kernels::canon;

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const VOCABULARY: &str = "vocab.txt";
const MODULES: &str = "modules.json";
const POOLING: &str = "1_Pooling/config.json";
const SENTENCE: &str = "sentence_bert_config.json";
const PROJECTION: &str = "edge_projection_f32.bin";

/// Where nothing says how many tokens of a text are read, and the most there may be.
const TOKENS_MAX: u32 = 512;
const JSON_BYTES_MAX: usize = 64 << 20;
const TENSOR_BYTES_MAX: usize = 2_000_000_000;

/// The contents of a sentence-transformers folder, read by the caller: the crate opens no file.
///
/// Required are `config`, `tensors` and one of `tokenizer` and `vocabulary`. The model is BERT with
/// absolute positions and the exact GELU, over an uncased WordPiece vocabulary; everything else is
/// refused by name. Embeddings have length 1 whether or not the folder asks for it. `[CLS]` and `[SEP]`
/// frame a text; a text of more than `max_seq_length` tokens (512 where nothing says so) is cut there.
#[derive(Clone, Copy, Debug, Default)]
pub struct EncoderFiles<'a> {
    /// `config.json`.
    pub config: Option<&'a [u8]>,
    /// `model.safetensors`, weights as F32, F16 or BF16.
    pub tensors: Option<&'a [u8]>,
    /// `tokenizer.json`; preferred to `vocab.txt`.
    pub tokenizer: Option<&'a [u8]>,
    /// `vocab.txt`: one token a line; taken to be uncased.
    pub vocabulary: Option<&'a [u8]>,
    /// `modules.json`: what follows the transformer.
    pub modules: Option<&'a [u8]>,
    /// `1_Pooling/config.json`; mean pooling where it is missing.
    pub pooling: Option<&'a [u8]>,
    /// `sentence_bert_config.json`: how many tokens are read.
    pub sentence: Option<&'a [u8]>,
    /// `edge_projection_f32.bin`, ours: `[hidden, columns]` little-endian f32, row-major. Embeddings are
    /// multiplied by it and brought to length 1 again, for example into the space of the static model.
    pub projection: Option<&'a [u8]>,
}

impl<'a> EncoderFiles<'a> {
    /// Every file name that is looked for, relative to the folder, with the place it goes to.
    ///
    /// ```
    /// # let read = |_: &str| -> Option<Vec<u8>> { None };
    /// use edge_embed::EncoderFiles;
    ///
    /// let contents = EncoderFiles::NAMES.map(read);
    /// let files = EncoderFiles::from_contents(&contents);
    /// # assert!(files.config.is_none());
    /// ```
    pub const NAMES: [&'static str; 8] = [
        CONFIG,
        "model.safetensors",
        TOKENIZER,
        VOCABULARY,
        MODULES,
        POOLING,
        SENTENCE,
        PROJECTION,
    ];

    /// The contents of the files of [`Self::NAMES`], in that order; `None` where there is no such file.
    pub fn from_contents(contents: &'a [Option<Vec<u8>>; 8]) -> Self {
        let [config, tensors, tokenizer, vocabulary, modules, pooling, sentence, projection] =
            contents.each_ref().map(|content| content.as_deref());
        EncoderFiles {
            config,
            tensors,
            tokenizer,
            vocabulary,
            modules,
            pooling,
            sentence,
            projection,
        }
    }

    pub(super) fn parts(&self) -> Result<Parts, LoadError> {
        let mut shape = self.shape()?;
        shape.check()?;
        shape.pool_first = self.pools_first(shape.hidden)?;
        self.check_modules()?;
        let tokens = match (self.tokenizer, self.vocabulary) {
            (Some(json), _) => tokens_of_json(json)?,
            (None, Some(lines)) => tokens_of_lines(lines)?,
            (None, None) => return Err(LoadError::MissingFile { file: TOKENIZER }),
        };
        let projection = self.projection(&mut shape)?;
        shape.check()?;
        if tokens.len() > shape.vocabulary as usize {
            let (tokens, rows) = (tokens.len(), shape.vocabulary);
            let why = format!("{tokens} tokens, but vocab_size of {CONFIG} is {rows}");
            return Err(LoadError::malformed(TOKENIZER, why));
        }
        let file = "model.safetensors";
        let bytes = self.tensors.ok_or(LoadError::MissingFile { file })?;
        limit(file, bytes, TENSOR_BYTES_MAX)?;
        let file = Tensors::read(bytes)?;
        // Files of models with a head on top name the encoder in it.
        let prefix = if file.has("bert.embeddings.word_embeddings.weight") { "bert." } else { "" };
        let tensors = shape
            .layout()
            .iter()
            .map(|(name, shape)| file.floats(&format!("{prefix}{name}"), shape))
            .collect::<Result<_, _>>()?;
        Ok(Parts { shape, tokens, tensors, projection })
    }

    fn shape(&self) -> Result<Shape, LoadError> {
        #[derive(Deserialize)]
        struct Config {
            model_type: Option<String>,
            architectures: Option<Vec<String>>,
            hidden_act: Option<Value>,
            position_embedding_type: Option<Value>,
            is_decoder: Option<bool>,
            hidden_size: u32,
            num_hidden_layers: u32,
            num_attention_heads: u32,
            intermediate_size: u32,
            max_position_embeddings: u32,
            vocab_size: u32,
            type_vocab_size: Option<u32>,
            layer_norm_eps: Option<f64>,
        }
        #[derive(Deserialize, Default)]
        struct Sentence {
            max_seq_length: Option<u32>,
        }
        let config = self.config.ok_or(LoadError::MissingFile { file: CONFIG })?;
        // The kind first: a foreign architecture also names its sizes differently.
        let kind: BTreeMap<String, Value> = json(CONFIG, config)?;
        let model_type = kind.get("model_type").and_then(Value::as_str).unwrap_or("not given");
        let unsupported = |setting, value: &str, supported| {
            let value = value.chars().take(80).collect();
            Err(LoadError::Unsupported { file: CONFIG, setting, value, supported })
        };
        if model_type != "bert" {
            return unsupported("model_type", model_type, "bert");
        }
        let config: Config = json(CONFIG, config)?;
        debug_assert!(config.model_type.is_some());
        if let Some(other) =
            config.architectures.iter().flatten().find(|name| !name.starts_with("Bert"))
        {
            return unsupported("architectures", other, "BertModel, BertFor...");
        }
        let is = |value: &Option<Value>, expected| {
            value.as_ref().is_none_or(|value| value.as_str() == Some(expected))
        };
        if !is(&config.hidden_act, "gelu") {
            let value = format!("{:?}", config.hidden_act);
            return unsupported("hidden_act", &value, "gelu");
        }
        if !is(&config.position_embedding_type, "absolute") {
            let value = format!("{:?}", config.position_embedding_type);
            return unsupported("position_embedding_type", &value, "absolute");
        }
        if config.is_decoder == Some(true) {
            return unsupported("is_decoder", "true", "false");
        }
        let sentence: Sentence =
            self.sentence.map_or(Ok(Sentence::default()), |text| json(SENTENCE, text))?;
        let most = TOKENS_MAX.min(config.max_position_embeddings);
        Ok(Shape {
            hidden: config.hidden_size,
            layers: config.num_hidden_layers,
            heads: config.num_attention_heads,
            inner: config.intermediate_size,
            positions: config.max_position_embeddings,
            vocabulary: config.vocab_size,
            types: config.type_vocab_size.unwrap_or(2),
            epsilon_bits: (config.layer_norm_eps.unwrap_or(1e-12) as f32).to_bits(),
            tokens_max: sentence.max_seq_length.unwrap_or(most).min(most),
            pool_first: false,
            projected: 0,
        })
    }

    /// Whether the pooling is by the first token; the mean otherwise.
    fn pools_first(&self, hidden: u32) -> Result<bool, LoadError> {
        let Some(text) = self.pooling else { return Ok(false) };
        let settings: BTreeMap<String, Value> = json(POOLING, text)?;
        if let Some(dim) = settings.get("word_embedding_dimension")
            && dim.as_u64() != Some(u64::from(hidden))
        {
            let why = format!("word_embedding_dimension is {dim}, hidden_size {hidden}");
            return Err(LoadError::malformed(POOLING, why));
        }
        let mut on: Vec<&str> = settings
            .iter()
            .filter(|(_, value)| **value == Value::Bool(true))
            .filter_map(|(name, _)| name.strip_prefix("pooling_mode_"))
            .collect();
        // Later versions write one name instead.
        on.extend(settings.get("pooling_mode").and_then(Value::as_str));
        match on[..] {
            ["mean_tokens" | "mean"] => Ok(false),
            ["cls_token" | "cls"] => Ok(true),
            _ => Err(LoadError::Unsupported {
                file: POOLING,
                setting: "pooling",
                value: if on.is_empty() { "none".to_owned() } else { on.join(" with ") },
                supported: "mean_tokens or cls_token alone",
            }),
        }
    }

    fn check_modules(&self) -> Result<(), LoadError> {
        #[derive(Deserialize)]
        struct Module {
            r#type: String,
        }
        let Some(text) = self.modules else { return Ok(()) };
        let modules: Vec<Module> = json(MODULES, text)?;
        let kinds: Vec<&str> =
            modules.iter().map(|m| m.r#type.rsplit('.').next().unwrap_or(&m.r#type)).collect();
        match kinds[..] {
            ["Transformer", "Pooling"] | ["Transformer", "Pooling", "Normalize"] => Ok(()),
            _ => Err(LoadError::Unsupported {
                file: MODULES,
                setting: "the sequence of modules",
                value: kinds.join(", ").chars().take(200).collect(),
                supported: "Transformer, Pooling and perhaps Normalize",
            }),
        }
    }

    fn projection(&self, shape: &mut Shape) -> Result<Vec<f32>, LoadError> {
        let Some(bytes) = self.projection else { return Ok(Vec::new()) };
        limit(PROJECTION, bytes, 4096 * 4096 * 4)?;
        let row = 4 * shape.hidden as usize;
        if bytes.is_empty() || row == 0 || !bytes.len().is_multiple_of(row) {
            let why = format!("{} bytes are no [{}, n] of f32", bytes.len(), shape.hidden);
            return Err(LoadError::malformed(PROJECTION, why));
        }
        shape.projected = (bytes.len() / row) as u32;
        let mut values: Vec<f32> =
            bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        canon::fold_negative_zero(&mut values);
        canon::check_finite(&values).map_err(LoadError::not_finite(PROJECTION))?;
        Ok(values)
    }
}

fn limit(file: &'static str, bytes: &[u8], limit: usize) -> Result<(), LoadError> {
    if bytes.len() <= limit {
        return Ok(());
    }
    Err(LoadError::TooLarge { file, bytes: bytes.len(), limit })
}

fn json<T: DeserializeOwned>(file: &'static str, text: &[u8]) -> Result<T, LoadError> {
    limit(file, text, JSON_BYTES_MAX)?;
    serde_json::from_slice(text).map_err(|error| LoadError::malformed(file, error))
}

/// The tokens by id, if the tokenizer is BERT uncased.
fn tokens_of_json(text: &[u8]) -> Result<Vec<String>, LoadError> {
    #[derive(Deserialize)]
    struct File {
        model: Value,
        normalizer: Option<Value>,
        pre_tokenizer: Option<Value>,
        post_processor: Option<Value>,
        #[serde(default)]
        added_tokens: Vec<Added>,
    }
    #[derive(Deserialize)]
    struct Added {
        content: String,
        id: u64,
        #[serde(default)]
        special: bool,
    }
    let file: File = json(TOKENIZER, text)?;
    let expect = |setting: &'static str, value: &Value, fits: bool, supported: &'static str| {
        if fits {
            return Ok(());
        }
        let value = value.to_string().chars().take(80).collect();
        Err(LoadError::Unsupported { file: TOKENIZER, setting, value, supported })
    };
    let kind = |setting, value: &Option<Value>, supported: &'static str| {
        let name = value.as_ref().map_or(&Value::Null, |value| &value["type"]);
        expect(setting, name, name == supported, supported)
    };
    let null = Value::Null;
    let model = &file.model;
    // Files of 2020 and before leave the type out.
    let name = model.get("type").unwrap_or(&null);
    let word_piece = name == "WordPiece" || (name.is_null() && model.get("merges").is_none());
    expect("model.type", name, word_piece, "WordPiece")?;
    let setting = |name: &str| model.get(name).unwrap_or(&null);
    let unknown = setting("unk_token");
    expect("model.unk_token", unknown, unknown == "[UNK]", "[UNK]")?;
    let prefix = setting("continuing_subword_prefix");
    expect("model.continuing_subword_prefix", prefix, prefix == "##", "##")?;
    let longest = setting("max_input_chars_per_word");
    expect("model.max_input_chars_per_word", longest, longest == 100, "100")?;
    kind("normalizer.type", &file.normalizer, "BertNormalizer")?;
    kind("pre_tokenizer.type", &file.pre_tokenizer, "BertPreTokenizer")?;
    let normalizer = file.normalizer.as_ref().unwrap_or(&null);
    for setting in ["lowercase", "clean_text", "handle_chinese_chars"] {
        let value = &normalizer[setting];
        expect(setting, value, *value == Value::Bool(true), "true (BERT uncased)")?;
    }
    let strip = &normalizer["strip_accents"];
    let strips = strip.is_null() || *strip == Value::Bool(true);
    expect("strip_accents", strip, strips, "true or null (BERT uncased)")?;
    let post = file.post_processor.as_ref().unwrap_or(&null);
    expect("post_processor", post, frames(post), "[CLS] text [SEP]")?;

    let vocabulary = setting("vocab").as_object();
    let vocabulary = vocabulary.ok_or_else(|| LoadError::malformed(TOKENIZER, "no model.vocab"))?;
    let mut tokens = vec![None; vocabulary.len()];
    for (token, id) in vocabulary {
        let slot = id.as_u64().and_then(|id| tokens.get_mut(usize::try_from(id).ok()?));
        match slot {
            Some(slot @ None) => *slot = Some(token.clone()),
            _ => {
                let (token, count) = (token.chars().take(40).collect::<String>(), tokens.len());
                let why = format!("{token:?} has the id {id}: not one of 0 to {count}, each once");
                return Err(LoadError::malformed(TOKENIZER, why));
            }
        }
    }
    for added in &file.added_tokens {
        let known = vocabulary.get(&added.content).and_then(Value::as_u64) == Some(added.id);
        let value = Value::String(added.content.clone());
        expect("added_tokens", &value, known && added.special, "special tokens of the vocabulary")?;
    }
    Ok(tokens.into_iter().flatten().collect())
}

/// Whether a post-processor puts `[CLS]` before a text and `[SEP]` behind it.
fn frames(post: &Value) -> bool {
    if post["type"] == "BertProcessing" {
        return post["cls"][0] == "[CLS]" && post["sep"][0] == "[SEP]";
    }
    let Some(single) = post["single"].as_array() else { return false };
    let special = |piece: &Value, name: &str| piece["SpecialToken"]["id"] == name;
    post["type"] == "TemplateProcessing"
        && single.len() == 3
        && special(&single[0], "[CLS]")
        && single[1]["Sequence"]["id"] == "A"
        && special(&single[2], "[SEP]")
}

fn tokens_of_lines(text: &[u8]) -> Result<Vec<String>, LoadError> {
    limit(VOCABULARY, text, JSON_BYTES_MAX)?;
    let text =
        std::str::from_utf8(text).map_err(|error| LoadError::malformed(VOCABULARY, error))?;
    Ok(text.lines().map(str::to_owned).collect())
}
