//! `compress`, `decompress`, `encrypt` and `decrypt`: a file to another one.

use std::{
    fs::OpenOptions,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use edge_node::folder::create_private;
use edge_tasks::{compression::COMPRESSED_BYTES_MAX, encryption::SEALED_BYTES_MAX};
use serde_json::{Value, json};

use super::{Context, ask, counted};
use crate::{
    args::{Compress, Decompress, Encrypt},
    failure::{Exit, Failure, Outcome},
};

/// A way to transform files.
struct Route {
    path: &'static str,
    /// What is appended to a file's name.
    suffix: &'static str,
    /// The most that is read.
    bytes_max: usize,
}

const COMPRESSION: Route =
    Route { path: "/api/v1/compression", suffix: "zst", bytes_max: COMPRESSED_BYTES_MAX };
const ENCRYPTION: Route =
    Route { path: "/api/v1/encryption", suffix: "enc", bytes_max: SEALED_BYTES_MAX };

pub(super) fn compress(context: &Context, compress: &Compress) -> Outcome {
    let body = json!({ "operation": "compress" });
    run(context, &COMPRESSION, compress, body, || Ok(with_suffix(&COMPRESSION, compress)))
}

pub(super) fn decompress(context: &Context, decompress: &Decompress) -> Outcome {
    let compress = &decompress.both;
    let mut body = json!({ "operation": "decompress" });
    if let Some(most) = decompress.max_bytes {
        body["max_bytes"] = most.into();
    }
    run(context, &COMPRESSION, compress, body, || without_suffix(&COMPRESSION, compress))
}

pub(super) fn encrypt(context: &Context, encrypt: &Encrypt) -> Outcome {
    let body = json!({ "operation": "encrypt", "key_id": encrypt.key });
    let beside = || Ok(with_suffix(&ENCRYPTION, &encrypt.both));
    run(context, &ENCRYPTION, &encrypt.both, body, beside)
}

pub(super) fn decrypt(context: &Context, decrypt: &Encrypt) -> Outcome {
    let body = json!({ "operation": "decrypt", "key_id": decrypt.key });
    let beside = || without_suffix(&ENCRYPTION, &decrypt.both);
    run(context, &ENCRYPTION, &decrypt.both, body, beside)
}

fn with_suffix(route: &Route, compress: &Compress) -> PathBuf {
    let mut name = compress.file.clone().into_os_string();
    name.push(".");
    name.push(route.suffix);
    PathBuf::from(name)
}

fn without_suffix(route: &Route, compress: &Compress) -> Outcome<PathBuf> {
    if compress.file.extension().is_some_and(|extension| extension == route.suffix) {
        return Ok(compress.file.with_extension(""));
    }
    let why = format!("{} does not end in .{}", compress.file.display(), route.suffix);
    let next = "name it with --output FILE";
    Err(Failure::new(Exit::Usage, "where should the result go?", why, next))
}

fn run(
    context: &Context,
    route: &Route,
    compress: &Compress,
    mut body: Value,
    beside: impl FnOnce() -> Outcome<PathBuf>,
) -> Outcome {
    let (data, dash) = (read(&compress.file, route.bytes_max)?, Path::new("-"));
    let target = match &compress.output {
        Some(path) => path.clone(),
        None if compress.file == dash => dash.to_owned(),
        None => beside()?,
    };
    if target != dash && !compress.force && target.exists() {
        let what = format!("{} was not written", target.display());
        let next = "name another file with --output, or overwrite it with --force";
        return Err(Failure::new(Exit::Usage, what, "it exists", next));
    }
    body["data"] = BASE64_STANDARD.encode(&data).into();
    body["priority"] = compress.priority.name().into();
    let mut answer = context.client()?.post(route.path, &body)?;
    let result = BASE64_STANDARD
        .decode(answer["data"].as_str().unwrap_or_default())
        .map_err(|error| Failure::failed("the answer is not base64", error, "check --api"))?;
    if target == dash && !context.global.json {
        let written = io::stdout().lock().write_all(&result);
        return written.map_err(|error| unwritten(&target, &error));
    }
    if target != dash {
        write(&target, &result, compress.force, body["operation"] == "decrypt")?;
        answer["file"] = target.to_string_lossy().into();
        if let Some(answer) = answer.as_object_mut() {
            answer.remove("data");
        }
    }
    answer["bytes_read"] = data.len().into();
    context.show(&answer, |output, answer| {
        let (from, to) = (counted(data.len(), "byte"), counted(result.len(), "byte"));
        output.line(format!("{}: {from} -> {to}", target.display()));
        ask::tasks(output, answer);
    });
    Ok(())
}

/// A file or standard input, one byte more than the limit at most.
fn read(path: &Path, bytes_max: usize) -> Outcome<Vec<u8>> {
    let limit = bytes_max as u64 + 1;
    let mut data = Vec::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(limit).read_to_end(&mut data)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut data))
    };
    read.map_err(|error| {
        let what = format!("{} cannot be read", path.display());
        Failure::new(Exit::Usage, what, error, "check its path and permissions")
    })?;
    if data.len() > bytes_max {
        let why = format!("it is over the limit of {bytes_max} bytes");
        return Err(Failure::new(Exit::Usage, "too much at once", why, "split it"));
    }
    Ok(data)
}

/// `private`: what was encrypted is for nobody else on this machine either.
fn write(path: &Path, data: &[u8], force: bool, private: bool) -> Outcome {
    let mut options = OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    let opened = if private { create_private(path, force) } else { options.open(path) };
    let written = opened.and_then(|mut file| file.write_all(data));
    written.map_err(|error| unwritten(path, &error))
}

fn unwritten(path: &Path, error: &io::Error) -> Failure {
    let what = format!("{} could not be written", path.display());
    Failure::failed(what, error, "check the folder, its permissions and the room in it")
}
