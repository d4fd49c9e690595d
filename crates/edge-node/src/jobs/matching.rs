//! Texts against labels.

use edge_base::TaskKind;
use edge_embed::Model;
use edge_swarm::Refusal;
use edge_tasks::{
    Example, MatchPayload, MatchResult, match_pin, match_units, matching::EXAMPLES_MAX,
};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    Jobs, LABELS_MAX, TASKS_IN_FLIGHT, TaskCheck, TaskOptions, check_text, groups, malformed,
};

/// A text with its label.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LabelledText {
    /// The label.
    pub label: String,
    /// The text.
    pub text: String,
}

/// What is to be matched with what.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MatchQuestion {
    /// The texts, each matched by itself.
    pub texts: Vec<String>,
    /// The labels; none for those of the examples, in the order in which they first appear.
    pub labels: Vec<String>,
    /// Texts whose labels are known; none to go by the labels alone.
    pub examples: Vec<LabelledText>,
    /// The model, by its name at this node; the built-in one without.
    pub model: Option<String>,
}

/// One text against the labels.
#[derive(Clone, PartialEq, Debug)]
pub struct MatchedText {
    /// The best label's place, the lower one of equals.
    pub best: usize,
    /// Whether it is good enough: a text that is not is best called unknown.
    pub known: bool,
    /// Cosine with each label's point, in order.
    pub similarities: Vec<f32>,
    /// How likely each label is, given that one of them is right.
    pub scores: Vec<f32>,
}

/// Texts against labels.
#[derive(Clone, PartialEq, Debug)]
pub struct Matched {
    /// The labels.
    pub labels: Vec<String>,
    /// One for each text, in order.
    pub texts: Vec<MatchedText>,
    /// What similarities were divided by before the softmax.
    pub temperature: f32,
    /// Below this best similarity a text is unknown.
    pub threshold: f32,
    /// The tasks that compared.
    pub tasks: Vec<TaskCheck>,
}

impl Jobs {
    /// Compares texts with labels, in tasks of at most [`super::TEXTS_PER_TASK`] texts.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] for no, too many, empty or too large texts, labels or examples, and for
    /// examples of labels that are not there; [`Refusal::NotFound`] for a model that is not here; what the
    /// peer refuses.
    pub async fn match_labels(
        &self,
        question: MatchQuestion,
        options: TaskOptions,
    ) -> Result<Matched, Refusal> {
        let (labels, examples) = checked(&question).map_err(Refusal::Invalid)?;
        let model = self.model(question.model.as_deref())?;
        let cost = |text: &str| edge_tasks::model_units(&*model, &[text]);
        let payloads: Vec<MatchPayload> = groups(&question.texts, cost)
            .into_iter()
            .map(|texts| MatchPayload {
                model: model.id(),
                texts: texts.to_vec(),
                labels: labels.clone(),
                examples: examples.clone(),
            })
            .collect();
        for payload in &payloads {
            payload.check().map_err(|error| Refusal::Invalid(error.to_string()))?;
        }
        let results: Vec<(MatchResult, TaskCheck)> = stream::iter(payloads)
            .map(|payload| {
                let (jobs, model) = (self.clone(), model.clone());
                async move { jobs.match_task(&*model, payload, options).await }
            })
            .buffered(TASKS_IN_FLIGHT)
            .try_collect()
            .await?;
        let (temperature, threshold) =
            results.first().map_or((0.0, 0.0), |(first, _)| (first.temperature, first.threshold));
        let mut matched =
            Matched { labels, texts: Vec::new(), temperature, threshold, tasks: Vec::new() };
        for (result, task) in results {
            matched.texts.extend(result.rows().map(|row| {
                let (best, known) = result.best(row).unwrap_or_default();
                MatchedText { best, known, similarities: row.to_vec(), scores: result.scores(row) }
            }));
            matched.tasks.push(task);
        }
        Ok(matched)
    }

    async fn match_task(
        &self,
        model: &dyn Model,
        payload: MatchPayload,
        options: TaskOptions,
    ) -> Result<(MatchResult, TaskCheck), Refusal> {
        let (kind, pin) = (TaskKind::SemanticMatch, match_pin(&payload.model));
        let units = match_units(model, &payload);
        let (bytes, task) = self.task(kind, pin, payload.encode(), units, options).await?;
        let result = MatchResult::decode(&bytes).map_err(malformed)?;
        let shape = (result.labels as usize, result.rows().len());
        if shape != (payload.labels.len(), payload.texts.len()) {
            return Err(Refusal::Failed("the checked result has another shape".into()));
        }
        Ok((result, task))
    }
}

/// The labels, and the examples by their labels' places.
fn checked(question: &MatchQuestion) -> Result<(Vec<String>, Vec<Example>), String> {
    let mut labels = question.labels.clone();
    if labels.is_empty() {
        for example in &question.examples {
            if !labels.contains(&example.label) {
                labels.push(example.label.clone());
                // Before the search above takes long.
                check_labels(labels.len())?;
            }
        }
    }
    check_labels(labels.len())?;
    if question.texts.is_empty() {
        return Err("no text to match".into());
    }
    if question.examples.len() > EXAMPLES_MAX {
        let count = question.examples.len();
        return Err(format!("at most {EXAMPLES_MAX} examples, not {count}"));
    }
    let single = question.texts.len() == 1;
    for (index, text) in question.texts.iter().enumerate() {
        let name = if single { "the text".to_owned() } else { format!("text {index}") };
        check_text(text).map_err(|why| format!("{name}: {why}"))?;
    }
    for label in &labels {
        check_text(label).map_err(|why| format!("label {label:?}: {why}"))?;
    }
    let mut examples = Vec::with_capacity(question.examples.len());
    for (index, example) in question.examples.iter().enumerate() {
        check_text(&example.text).map_err(|why| format!("example {index}: {why}"))?;
        let label = labels.iter().position(|label| *label == example.label);
        let Some(label) = label.and_then(|label| u32::try_from(label).ok()) else {
            let label = &example.label;
            return Err(format!("example {index} is of {label:?}, which is none of the labels"));
        };
        examples.push(Example { label, text: example.text.clone() });
    }
    Ok((labels, examples))
}

fn check_labels(count: usize) -> Result<(), String> {
    if count == 0 || count > LABELS_MAX {
        return Err(format!("1 to {LABELS_MAX} labels, not {count}"));
    }
    Ok(())
}
