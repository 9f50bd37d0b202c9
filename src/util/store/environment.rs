//! Endpoints, regions and credentials of stores: from the variables that other programs read, too, and from the profiles of
//! the AWS tools.

pub(super) mod azure;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::{BackoffConfig, Certificate, ClientOptions, ObjectStore, RetryConfig};

use super::failure::Context;
use super::{Scheme, StoreUrl};

/// How long requests are repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// For some seconds.
    Hasty,
    /// For some minutes.
    Patient,
}

/// Attempts at one request (`AWS_MAX_ATTEMPTS`).
const MAX_ATTEMPTS: usize = 10;

/// The same before the store has answered for the first time.
const MAX_FIRST_ATTEMPTS: usize = 4;

/// The time for one request with its answer. A part of an upload has 8 MiB.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);

/// The same before the store has answered for the first time. These requests are small.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The variables of the environment that are set to something, by their names.
pub(super) type Variables = BTreeMap<String, String>;

/// The variables of the environment that are set to something.
pub(super) fn variables() -> Variables {
    env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(_, value)| !value.is_empty())
        .collect()
}

/// The client for a store, and what sentences say of it.
///
/// # Errors
/// A sentence, if the environment is not complete or contradicts itself.
pub fn build(url: &StoreUrl, patience: Patience) -> Result<(Arc<dyn ObjectStore>, Context), String> {
    let variables = variables();
    let shortened = |error: object_store::Error| shortened(&error);
    match url.scheme() {
        Scheme::S3 => {
            let (builder, context) = s3(url, patience, &variables)?;
            Ok((Arc::new(builder.build().map_err(shortened)?), context))
        }
        Scheme::Gs => {
            let (builder, context) = google(url, patience, &variables)?;
            Ok((Arc::new(builder.build().map_err(shortened)?), context))
        }
        Scheme::Az => {
            let (builder, context) = azure::builder(url, patience, &variables)?;
            Ok((Arc::new(builder.build().map_err(shortened)?), context))
        }
    }
}

pub(super) fn google(
    url: &StoreUrl,
    patience: Patience,
    variables: &Variables,
) -> Result<(GoogleCloudStorageBuilder, Context), String> {
    let mut builder = GoogleCloudStorageBuilder::new();
    for (name, value) in variables {
        if let Some(key) = key_of(name, "GOOGLE_") {
            builder = builder.with_config(key, value);
        }
    }
    let endpoint = variables.get("GOOGLE_BASE_URL");
    let mut client = client_options(patience)?;
    if let Some(endpoint) = endpoint {
        client = client.with_allow_http(is_plain_http(endpoint)?);
    }
    let builder = builder.with_client_options(client).with_retry(retry(patience, variables)?);
    let host = endpoint.map_or("storage.googleapis.com", |endpoint| host_of(endpoint));
    Ok((builder.with_bucket_name(url.bucket()), context(url, host)))
}

/// Whether an endpoint is asked without TLS.
///
/// # Errors
/// A sentence, if it is no URL of HTTP.
fn is_plain_http(endpoint: &str) -> Result<bool, String> {
    if endpoint.starts_with("http://") {
        return Ok(true);
    }
    let sentence = || format!("the endpoint {} begins neither with https:// nor with http://", host_of(endpoint));
    endpoint.starts_with("https://").then_some(false).ok_or_else(sentence)
}

fn key_of<K: std::str::FromStr>(name: &str, prefix: &str) -> Option<K> {
    name.starts_with(prefix).then(|| name.to_ascii_lowercase().parse().ok()).flatten()
}

fn context(url: &StoreUrl, endpoint: &str) -> Context {
    Context { scheme: url.scheme(), bucket: url.bucket().to_owned(), endpoint: endpoint.to_owned() }
}

/// The host and the port of a URL, without what may be secret in it.
fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    host.rsplit_once('@').map_or(host, |(_, host)| host)
}

/// An error of a builder. It names what is missing, and has no values.
pub(super) fn shortened(error: &object_store::Error) -> String {
    let text = match error {
        object_store::Error::Generic { source, .. } => source.to_string(),
        other => other.to_string(),
    };
    text.lines().next().unwrap_or_default().chars().take(160).collect()
}

pub(super) fn s3(
    url: &StoreUrl,
    patience: Patience,
    variables: &Variables,
) -> Result<(AmazonS3Builder, Context), String> {
    let get = |name: &str| variables.get(name).map(String::as_str);
    let is_true = |name: &str| get(name).is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1");
    let profile = Profile::read(variables)?;
    let mut builder = AmazonS3Builder::new();
    for (name, value) in variables {
        // The endpoint decides below whether plain HTTP is allowed.
        if let Some(key) = key_of(name, "AWS_").filter(|_| name != "AWS_ALLOW_HTTP") {
            builder = builder.with_config(key, value);
        }
    }
    let mut has_credentials = get("AWS_ACCESS_KEY_ID").is_some() || get("AWS_SECRET_ACCESS_KEY").is_some();
    if !has_credentials {
        for (name, key) in [
            ("aws_access_key_id", AmazonS3ConfigKey::AccessKeyId),
            ("aws_secret_access_key", AmazonS3ConfigKey::SecretAccessKey),
            ("aws_session_token", AmazonS3ConfigKey::Token),
        ] {
            if let Some(value) = profile.get(name) {
                has_credentials = true;
                builder = builder.with_config(key, value);
            }
        }
    }
    let is_anonymous = is_true("AWS_SKIP_SIGNATURE");
    let others =
        ["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"];
    if !has_credentials && !is_anonymous && !others.iter().any(|name| get(name).is_some()) {
        profile.refuse_what_is_not_understood()?;
        if is_true("AWS_EC2_METADATA_DISABLED") {
            return Err(context(url, "").no_credentials());
        }
    }
    if let Some(region) = get("AWS_REGION").or_else(|| get("AWS_DEFAULT_REGION")).or_else(|| profile.get("region")) {
        builder = builder.with_region(region);
    }
    let ignores_profile = is_true("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS");
    let of_profile = || profile.service_endpoint().or_else(|| profile.get("endpoint_url")).filter(|_| !ignores_profile);
    let of_variables = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"].into_iter().find_map(get);
    let endpoint = of_variables.or_else(of_profile);
    let mut client = client_options(patience)?;
    if let Some(endpoint) = endpoint {
        client = client.with_allow_http(is_plain_http(endpoint)?);
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(file) = get("AWS_CA_BUNDLE") {
        let fail = |what: String| format!("AWS_CA_BUNDLE {file}: {what}");
        let bundle = fs::read(file).map_err(|error| fail(error.to_string()))?;
        let found = Certificate::from_pem_bundle(&bundle).map_err(|error| fail(shortened(&error)))?;
        client = found.into_iter().fold(client, ClientOptions::with_root_certificate);
    }
    let builder = builder.with_client_options(client).with_retry(retry(patience, variables)?);
    // Some stores know no removal of several objects at once.
    let builder = builder.with_config(AmazonS3ConfigKey::DisableBulkDelete, "true");
    Ok((builder.with_bucket_name(url.bucket()), context(url, endpoint.map_or("s3.amazonaws.com", host_of))))
}

fn client_options(patience: Patience) -> Result<ClientOptions, String> {
    let agent = concat!("fetchimg/", env!("CARGO_PKG_VERSION")).parse();
    let timeout = match patience {
        Patience::Hasty => FIRST_REQUEST_TIMEOUT,
        Patience::Patient => REQUEST_TIMEOUT,
    };
    let agent = agent.map_err(|_| "the version cannot be sent".to_owned())?;
    Ok(ClientOptions::new().with_user_agent(agent).with_timeout(timeout))
}

fn retry(patience: Patience, variables: &Variables) -> Result<RetryConfig, String> {
    let mut attempts = MAX_ATTEMPTS;
    if let Some(value) = variables.get("AWS_MAX_ATTEMPTS") {
        let parsed = value.parse().ok().filter(|attempts| *attempts > 0);
        attempts = parsed.ok_or_else(|| format!("AWS_MAX_ATTEMPTS is {value}, which is no number of attempts"))?;
    }
    let (max_retries, max_backoff, retry_timeout) = match patience {
        Patience::Hasty => (attempts.min(MAX_FIRST_ATTEMPTS) - 1, 2, 10),
        Patience::Patient => (attempts - 1, 15, 180),
    };
    Ok(RetryConfig {
        backoff: BackoffConfig { max_backoff: Duration::from_secs(max_backoff), ..BackoffConfig::default() },
        max_retries,
        retry_timeout: Duration::from_secs(retry_timeout),
    })
}

/// A section of the files `credentials` and `config` of the AWS tools.
#[derive(Debug, Default, PartialEq, Eq)]
struct Profile {
    name: String,
    values: BTreeMap<String, String>,
    /// The endpoint of S3 in the section of services that the profile names.
    service_endpoint: Option<String>,
}

impl Profile {
    /// The profile that the variables name, or the one that holds without any.
    fn read(variables: &Variables) -> Result<Self, String> {
        let chosen = variables.get("AWS_PROFILE").or_else(|| variables.get("AWS_DEFAULT_PROFILE"));
        let home = variables.get("HOME").map(|home| PathBuf::from(home).join(".aws"));
        let file = |variable: &str, name: &str| {
            let path = variables.get(variable).map(PathBuf::from).or_else(|| Some(home.as_ref()?.join(name)));
            // A file that is not there is as good as an empty one.
            path.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default()
        };
        let (config, credentials) =
            (file("AWS_CONFIG_FILE", "config"), file("AWS_SHARED_CREDENTIALS_FILE", "credentials"));
        let name = chosen.map_or("default", String::as_str);
        match Self::parse(name, &config, &credentials) {
            None if chosen.is_some() => Err(format!(
                "there is no profile {name}, which AWS_PROFILE names, in the files config and credentials in ~/.aws"
            )),
            found => Ok(found.unwrap_or_default()),
        }
    }

    fn parse(name: &str, config: &str, credentials: &str) -> Option<Self> {
        let (config, credentials) = (sections(config), sections(credentials));
        let in_config = if name == "default" { vec!["default", "profile default"] } else { vec![] };
        let long = format!("profile {name}");
        let mut in_config = in_config.into_iter().chain([&*long]).filter_map(|section| config.get(section)).peekable();
        let in_credentials = credentials.get(name);
        if in_config.peek().is_none() && in_credentials.is_none() {
            return None;
        }
        let mut values = BTreeMap::new();
        // What is in both files is taken from that of the credentials.
        in_config.chain(in_credentials).for_each(|section| values.extend(section.clone()));
        let services = values.get("services").and_then(|name| config.get(&format!("services {name}")));
        let service_endpoint = services.and_then(|section| section.get("s3.endpoint_url")).cloned();
        Some(Self { name: name.to_owned(), values, service_endpoint })
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    fn service_endpoint(&self) -> Option<&str> {
        self.service_endpoint.as_deref()
    }

    /// Fails where the profile gets its credentials in a way that is for the AWS tools alone.
    fn refuse_what_is_not_understood(&self) -> Result<(), String> {
        let others = ["role_arn", "credential_process", "sso_session", "sso_start_url", "login_session"];
        match others.into_iter().find(|name| self.values.contains_key(*name)) {
            Some(key) => Err(format!(
                "the profile {} gets its credentials by {key}; put them into the environment first: eval \"$(aws configure \
                 export-credentials --profile {} --format env)\"",
                self.name, self.name
            )),
            None => Ok(()),
        }
    }
}

/// The sections of a file, with their values. Those below an indented key have that key and a dot before their names.
fn sections(text: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut sections = BTreeMap::<String, BTreeMap<String, String>>::new();
    let (mut section, mut parent) = (String::new(), String::new());
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            section = name.0.split_whitespace().collect::<Vec<_>>().join(" ");
            parent.clear();
            sections.entry(section.clone()).or_default();
            continue;
        }
        let Some((key, value)) = trimmed.split_once('=') else { continue };
        let (key, value) = (key.trim().to_ascii_lowercase(), value.trim().to_owned());
        let is_nested = line.starts_with([' ', '\t']) && !parent.is_empty();
        let name = if is_nested { format!("{parent}.{key}") } else { key.clone() };
        if !is_nested {
            parent = if value.is_empty() { key } else { String::new() };
        }
        if !value.is_empty() {
            sections.entry(section.clone()).or_default().insert(name, value);
        }
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "# of the tools\n[default]\nregion = eu-central-1\n\n[profile work]\nregion=us-west-2\n\
        endpoint_url = https://store.example\nservices = local\ns3 =\n  max_concurrent_requests = 20\n\
        [services local]\ns3 = \n  endpoint_url = http://127.0.0.1:9000\ndynamodb =\n  endpoint_url = http://other\n\
        [profile role]\nrole_arn = arn:aws:iam::1:role/a\nsource_profile = work\n";
    const CREDENTIALS: &str =
        "[default]\naws_access_key_id = A\naws_secret_access_key = B=/+\n[work]\naws_access_key_id=C\n";

    #[test]
    fn profiles_are_read_as_the_aws_tools_do() {
        let profile = |name| Profile::parse(name, CONFIG, CREDENTIALS).expect(name);
        let default = profile("default");
        let values =
            ["aws_access_key_id", "aws_secret_access_key", "region", "endpoint_url"].map(|name| default.get(name));
        assert_eq!(values, [Some("A"), Some("B=/+"), Some("eu-central-1"), None]);
        let work = profile("work");
        assert_eq!((work.get("aws_access_key_id"), work.get("region")), (Some("C"), Some("us-west-2")));
        assert_eq!(work.get("s3.max_concurrent_requests"), Some("20"));
        assert_eq!(work.service_endpoint(), Some("http://127.0.0.1:9000"));
        let refused = profile("role").refuse_what_is_not_understood().expect_err("a role");
        assert!(refused.contains("role_arn") && refused.contains("--profile role"), "{refused}");
        work.refuse_what_is_not_understood().expect("keys");
        assert_eq!(Profile::parse("none", CONFIG, CREDENTIALS), None);
    }

    #[test]
    fn hosts_are_named_without_secrets() {
        for (url, host) in [
            ("http://127.0.0.1:9000/", "127.0.0.1:9000"),
            ("https://user:secret@store.example/a?b", "store.example"),
            ("store", "store"),
        ] {
            assert_eq!(host_of(url), host);
        }
    }
}
