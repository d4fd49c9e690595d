//! The files of a sentence-transformers folder.

use std::collections::BTreeMap;

use edge_kernels::canon;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::bounded::Setting;
use super::error::LoadError;
use super::parts::{Parts, Shape};
use super::safetensors::Tensors;
use super::word_piece::{TokenizerSettings, tokens_of_json, tokens_of_lines};

const CONFIG: &str = "config.json";
const TENSORS: &str = "model.safetensors";
pub(super) const TOKENIZER: &str = "tokenizer.json";
pub(super) const VOCABULARY: &str = "vocab.txt";
pub(super) const TOKENIZER_SETTINGS: &str = "tokenizer_config.json";
const MODULES: &str = "modules.json";
const POOLING: &str = "1_Pooling/config.json";
const SENTENCE: &str = "sentence_bert_config.json";
const PROMPTS: &str = "config_sentence_transformers.json";
const PROJECTION: &str = "edge_projection_f32.bin";

/// The contents of a sentence-transformers folder, read by the caller: the crate opens no file.
///
/// Required are `config`, `tensors` and one of `tokenizer` and `vocabulary`. The model is BERT with
/// absolute positions and the exact GELU, over an uncased WordPiece vocabulary; everything else is
/// refused by name. Embeddings have length 1 whether or not the folder asks for it. `[CLS]` and `[SEP]`
/// frame a text. As sentence-transformers does, a text of more tokens than `max_seq_length` of
/// `sentence_bert_config.json` is cut at its end; where that is missing, the lesser of `model_max_length` of
/// `tokenizer_config.json` and `max_position_embeddings` of `config.json` counts.
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
    /// `tokenizer_config.json`, which must not contradict the tokenizer.
    pub tokenizer_settings: Option<&'a [u8]>,
    /// `modules.json`: what follows the transformer.
    pub modules: Option<&'a [u8]>,
    /// `1_Pooling/config.json`; mean pooling where it and `modules.json` are missing.
    pub pooling: Option<&'a [u8]>,
    /// `sentence_bert_config.json`: how many tokens are read.
    pub sentence: Option<&'a [u8]>,
    /// `config_sentence_transformers.json`: that no prompt is put before texts, and vectors are compared by
    /// cosine.
    pub prompts: Option<&'a [u8]>,
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
    pub const NAMES: [&'static str; 10] = [
        CONFIG,
        TENSORS,
        TOKENIZER,
        VOCABULARY,
        TOKENIZER_SETTINGS,
        MODULES,
        POOLING,
        SENTENCE,
        PROMPTS,
        PROJECTION,
    ];

    /// The most bytes that a file of one of [`Self::NAMES`] may have: a caller need not read more.
    pub fn bytes_max(name: &str) -> usize {
        match name {
            TENSORS => 2_000_000_000,
            TOKENIZER | VOCABULARY => 32 << 20,
            PROJECTION => 4096 * 4096 * 4,
            _ => 1 << 20,
        }
    }

    /// The contents of the files of [`Self::NAMES`], in that order; `None` where there is no such file.
    pub fn from_contents(contents: &'a [Option<Vec<u8>>; 10]) -> Self {
        let [
            config,
            tensors,
            tokenizer,
            vocabulary,
            tokenizer_settings,
            modules,
            pooling,
            sentence,
            prompts,
            projection,
        ] = contents.each_ref().map(|content| content.as_deref());
        EncoderFiles {
            config,
            tensors,
            tokenizer,
            vocabulary,
            tokenizer_settings,
            modules,
            pooling,
            sentence,
            prompts,
            projection,
        }
    }

    pub(super) fn parts(&self) -> Result<Parts, LoadError> {
        let settings = self
            .tokenizer_settings
            .map_or_else(|| Ok(TokenizerSettings::default()), TokenizerSettings::read)?;
        settings.check(self.tokenizer.is_none())?;
        let mut shape = self.shape(settings.tokens_max())?;
        shape.check()?;
        shape.pool_first = self.pools_first(shape.hidden)?;
        let normalizes = self.check_modules()?;
        self.check_prompts(normalizes)?;
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
        let bytes = self.tensors.ok_or(LoadError::MissingFile { file: TENSORS })?;
        limit(TENSORS, bytes)?;
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

    /// The sizes; `settings_max` is what the tokenizer's settings say of the most tokens.
    fn shape(&self, settings_max: Option<u32>) -> Result<Shape, LoadError> {
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
        let positions = config.max_position_embeddings;
        let most = settings_max.map_or(positions, |most| most.min(positions));
        Ok(Shape {
            hidden: config.hidden_size,
            layers: config.num_hidden_layers,
            heads: config.num_attention_heads,
            inner: config.intermediate_size,
            positions,
            vocabulary: config.vocab_size,
            types: config.type_vocab_size.unwrap_or(2),
            epsilon_bits: (config.layer_norm_eps.unwrap_or(1e-12) as f32).to_bits(),
            tokens_max: sentence.max_seq_length.unwrap_or(most),
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

    /// Whether the modules bring vectors to length 1.
    fn check_modules(&self) -> Result<bool, LoadError> {
        #[derive(Deserialize)]
        struct Module {
            r#type: String,
            #[serde(default)]
            path: Setting,
        }
        let Some(text) = self.modules else { return Ok(false) };
        let modules: Vec<Module> = json(MODULES, text)?;
        // Their settings are read there and nowhere else.
        for (module, place) in modules.iter().zip(["", "1_Pooling"]) {
            if !module.path.is_null() && module.path != *place {
                return Err(LoadError::Unsupported {
                    file: MODULES,
                    setting: "the path of a module",
                    value: module.path.to_string(),
                    supported: "\"\" for the first, \"1_Pooling\" for the second",
                });
            }
        }
        let kinds: Vec<&str> =
            modules.iter().map(|m| m.r#type.rsplit('.').next().unwrap_or(&m.r#type)).collect();
        match kinds[..] {
            ["Transformer", "Pooling", ..] if self.pooling.is_none() => {
                Err(LoadError::MissingFile { file: POOLING })
            }
            ["Transformer", "Pooling"] => Ok(false),
            ["Transformer", "Pooling", "Normalize"] => Ok(true),
            _ => Err(LoadError::Unsupported {
                file: MODULES,
                setting: "the sequence of modules",
                value: kinds.join(", ").chars().take(200).collect(),
                supported: "Transformer, Pooling and perhaps Normalize",
            }),
        }
    }

    fn check_prompts(&self, normalizes: bool) -> Result<(), LoadError> {
        #[derive(Deserialize)]
        struct Settings {
            #[serde(default)]
            default_prompt_name: Setting,
            #[serde(default)]
            similarity_fn_name: Setting,
        }
        let Some(text) = self.prompts else { return Ok(()) };
        let settings: Settings = json(PROMPTS, text)?;
        let unsupported = |setting, value: &Setting, supported| {
            let value = value.to_string();
            Err(LoadError::Unsupported { file: PROMPTS, setting, value, supported })
        };
        let prompt = &settings.default_prompt_name;
        if !prompt.is_null() {
            return unsupported("default_prompt_name", prompt, "null");
        }
        let similarity = &settings.similarity_fn_name;
        // Of vectors of length 1 the dot product is the cosine.
        let cosine = *similarity == *"cosine" || (normalizes && *similarity == *"dot");
        if cosine || similarity.is_null() {
            return Ok(());
        }
        unsupported("similarity_fn_name", similarity, "cosine, or dot behind Normalize")
    }

    fn projection(&self, shape: &mut Shape) -> Result<Vec<f32>, LoadError> {
        let Some(bytes) = self.projection else { return Ok(Vec::new()) };
        limit(PROJECTION, bytes)?;
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

/// Refuses a file of more than [`EncoderFiles::bytes_max`].
pub(super) fn limit(file: &'static str, bytes: &[u8]) -> Result<(), LoadError> {
    let limit = EncoderFiles::bytes_max(file);
    if bytes.len() <= limit {
        return Ok(());
    }
    Err(LoadError::TooLarge { file, bytes: bytes.len(), limit })
}

pub(super) fn json<T: DeserializeOwned>(file: &'static str, text: &[u8]) -> Result<T, LoadError> {
    limit(file, text)?;
    serde_json::from_slice(text).map_err(|error| LoadError::malformed(file, error))
}
