//! What is asked for an object, for a client that is not the one here: a URL, and the fields that authorise the request.
//!
//! Images that are objects are fetched by the client that fetches all images, with its deadlines, limits and ranges. Of
//! the library of the stores these requests have the credentials and the signatures. Both are in fields of the header
//! wherever the store takes them there, so that no URL that may be logged holds a secret.

use std::fmt;
use std::fs;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method, Uri};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsAuthorizer, AwsCredential, AwsCredentialProvider};
use object_store::azure::{
    AzureAuthorizer, AzureConfigKey, AzureCredential, AzureCredentialProvider, MicrosoftAzureBuilder,
};
use object_store::client::{HttpRequest, HttpRequestBody};
use object_store::gcp::{GcpCredential, GcpCredentialProvider, GoogleCloudStorageBuilder, GoogleConfigKey};
use tokio::sync::Mutex;
use url::Url;

use super::environment::{self, Patience, shortened};
use super::failure::{Context, between};
use super::object_url::ObjectName;
use super::{Refusal, RequestError, Scheme, StoreUrl};

/// For how long no row asks for credentials again after one did in vain. Otherwise each row of a list would wait for the
/// network of a cloud that this machine is not in.
const PAUSE: Duration = Duration::from_secs(60);

/// The same where there were credentials before, so that the failure will pass.
const SHORT_PAUSE: Duration = Duration::from_secs(2);

/// The field with the session token of S3.
const SESSION_TOKEN: &str = "x-amz-security-token";

/// The longest code or region of an answer that a sentence repeats.
const MAX_WORD_BYTES: usize = 40;

/// Makes requests for objects. The environment is read when the first object of a kind of store is asked for.
#[derive(Debug, Default)]
pub struct Requests {
    s3: OnceLock<Result<Arc<Access>, String>>,
    gs: OnceLock<Result<Arc<Access>, String>>,
    az: OnceLock<Result<Arc<Access>, String>>,
}

impl Requests {
    /// The request for an object. Credentials may have to be fetched for it; a request that is sent again needs a new one,
    /// because they end.
    ///
    /// # Errors
    /// When the URL names no object, the environment is not complete or contradicts itself, or there are no credentials.
    pub async fn object(&self, url: &Url) -> Result<ObjectRequest, RequestError> {
        let fail = |sentence| RequestError { sentence, may_pass: false };
        let name = ObjectName::of(url).map_err(fail)?;
        let access = match name.scheme {
            Scheme::S3 => &self.s3,
            Scheme::Gs => &self.gs,
            Scheme::Az => &self.az,
        };
        // The credentials are those of all buckets.
        let access = access.get_or_init(|| Access::of(&name).map(Arc::new)).clone().map_err(fail)?;
        let url = access.place.url(&name).map_err(fail)?;
        let credential = access.credential().await?;
        Ok(ObjectRequest { url, bucket: name.bucket, access, credential })
    }
}

/// How the stores of one protocol are reached.
struct Access {
    place: Place,
    source: Source,
    /// The bucket in it is that of the first object.
    context: Context,
    state: Mutex<State>,
}

// The clients know the credentials.
impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Access({})", self.context.endpoint)
    }
}

#[derive(Debug, Default)]
struct State {
    has_had_credentials: bool,
    failure: Option<(Instant, RequestError)>,
}

/// Where credentials come from.
enum Source {
    /// Nowhere: requests are anonymous.
    None,
    S3 {
        provider: AwsCredentialProvider,
        region: Arc<str>,
        pays: bool,
    },
    Gs(GcpCredentialProvider),
    Az {
        provider: AzureCredentialProvider,
        account: Arc<str>,
    },
}

/// With what a request is authorised.
#[derive(Clone)]
enum Credential {
    None,
    S3 { credential: Arc<AwsCredential>, region: Arc<str>, pays: bool },
    Gs(Arc<GcpCredential>),
    Az { credential: Arc<AzureCredential>, account: Arc<str> },
}

/// The request for an object.
pub struct ObjectRequest {
    url: Url,
    bucket: String,
    access: Arc<Access>,
    credential: Credential,
}

// It holds credentials.
impl fmt::Debug for ObjectRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectRequest({})", self.url)
    }
}

impl ObjectRequest {
    /// The URL, without secrets.
    #[must_use]
    pub const fn url(&self) -> &Url {
        &self.url
    }

    /// Adds the fields that authorise a GET with these fields, which may not change after that. Returns the URL to be asked
    /// for, which may hold a secret.
    ///
    /// # Errors
    /// A sentence, if the credentials cannot be used.
    pub fn authorize(&self, headers: &mut HeaderMap) -> Result<Url, String> {
        let unusable = |_| format!("the credentials of {} cannot be sent", self.access.context.endpoint);
        match &self.credential {
            Credential::None => Ok(self.url.clone()),
            Credential::Gs(credential) if credential.bearer.is_empty() => Ok(self.url.clone()),
            Credential::Gs(credential) => {
                let mut value = HeaderValue::try_from(format!("Bearer {}", credential.bearer))
                    .map_err(|error| unusable(error.to_string()))?;
                value.set_sensitive(true);
                headers.insert(AUTHORIZATION, value);
                Ok(self.url.clone())
            }
            Credential::S3 { credential, region, pays } => {
                // The library takes it for granted.
                for text in [&*credential.key_id, credential.token.as_deref().unwrap_or_default(), region] {
                    HeaderValue::from_str(text).map_err(|error| unusable(error.to_string()))?;
                }
                let signer = AwsAuthorizer::new(credential, "s3", region).with_request_payer(*pays);
                // Servers before the store may change what else is sent, such as the codings that are accepted.
                let mut fields = HeaderMap::new();
                let asked = self.sign(&mut fields, |request| signer.try_authorize(request, None))?;
                headers.extend(fields);
                Ok(asked)
            }
            Credential::Az { credential, account } => {
                if let AzureCredential::BearerToken(token) = &**credential {
                    HeaderValue::from_str(token).map_err(|error| unusable(error.to_string()))?;
                }
                let signer = AzureAuthorizer::new(credential, account);
                self.sign(headers, |request| signer.try_authorize(request))
            }
        }
    }

    fn sign(
        &self,
        headers: &mut HeaderMap,
        sign: impl Fn(&mut HttpRequest) -> object_store::Result<()>,
    ) -> Result<Url, String> {
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = self.url.as_str().parse::<Uri>().map_err(|error| error.to_string())?;
        *request.headers_mut() = std::mem::take(headers);
        // Of the error only the kind may be shown.
        let signed = sign(&mut request).map_err(|_| "the request cannot be signed".to_owned());
        *headers = std::mem::take(request.headers_mut());
        for name in [AUTHORIZATION.as_str(), SESSION_TOKEN] {
            if let Some(value) = headers.get_mut(name) {
                value.set_sensitive(true);
            }
        }
        signed?;
        Url::parse(&request.uri().to_string()).map_err(|_| "the request cannot be signed".to_owned())
    }

    /// What an answer means that is not the object: its status, the region that its header names, and the beginning of its
    /// body. `None` if the status says it all. Nothing is repeated of the body but single words.
    #[must_use]
    pub fn explain(&self, status: u16, region: Option<&str>, document: &str) -> Option<Refusal> {
        let context = Context { bucket: self.bucket.clone(), ..self.access.context.clone() };
        explained(&context, matches!(self.credential, Credential::None), (status, region, document))
    }
}

fn explained(
    context: &Context,
    is_anonymous: bool,
    (status, region, document): (u16, Option<&str>, &str),
) -> Option<Refusal> {
    let Context { bucket, endpoint, .. } = context;
    let is_word = |text: &&str| {
        text.len() <= MAX_WORD_BYTES && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    let code = between(document, "<Code>", "</Code>").filter(is_word).unwrap_or_default();
    let region = region.or_else(|| between(document, "<Region>", "</Region>"));
    let is_of_region =
        matches!(code, "AuthorizationHeaderMalformed" | "PermanentRedirect" | "IllegalLocationConstraintException")
            || matches!(status, 301 | 302 | 307 | 308);
    let is_of_token = matches!(code, "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired");
    let clause = match (code, status) {
        ("NoSuchBucket" | "ContainerNotFound" | "InvalidBucketName", _) => {
            format!("there is no bucket {bucket} at {endpoint}")
        }
        ("InvalidAccessKeyId", _) => format!("{endpoint} does not know the access key; see AWS_ACCESS_KEY_ID"),
        ("SignatureDoesNotMatch", _) => format!(
            "{endpoint} refuses the signature: the secret key does not belong to the access key; see AWS_SECRET_ACCESS_KEY"
        ),
        ("RequestTimeTooSkewed" | "RequestExpired", _) => {
            format!("the clock of this machine is not that of {endpoint}; set the clock")
        }
        _ if is_of_token => {
            "the session token has expired or is not valid; get another one (AWS_SESSION_TOKEN)".to_owned()
        }
        _ if is_of_region => context.other_region(region),
        ("InvalidObjectState" | "BlobArchived", _) => {
            "it is archived, and must be restored before it can be read".to_owned()
        }
        ("NoSuchKey" | "NoSuchVersion" | "BlobNotFound", _) | ("", 404) if !is_page(document) => {
            format!("it is not in the bucket {bucket}")
        }
        (_, 401 | 403) if is_anonymous => {
            format!("{endpoint} forbids it: the requests carry no credentials, so it must be public")
        }
        ("AuthenticationFailed", _) => format!("{endpoint} refuses the credentials"),
        (_, 401 | 403) => format!(
            "{endpoint} forbids it: the credentials must allow to read in the bucket {bucket}; without leave to list \
             it, what is missing is forbidden, too"
        ),
        ("", 400..=499) if is_page(document) => context.no_store("a page"),
        ("", _) => return None,
        (code, _) => code.to_owned(),
    };
    Some(Refusal { clause, is_of_settings: is_of_region || is_of_token })
}

/// Whether a document is one of another kind of server.
fn is_page(document: &str) -> bool {
    let begin = document.trim_start().as_bytes();
    [&b"<html"[..], b"<!doctype"]
        .iter()
        .any(|sign| begin.get(..sign.len()).is_some_and(|head| head.eq_ignore_ascii_case(sign)))
}

impl Access {
    /// Reads the environment.
    ///
    /// # Errors
    /// A sentence, if it is not complete or contradicts itself.
    fn of(name: &ObjectName) -> Result<Self, String> {
        // The library makes its TLS settings from that of the process. A program that has chosen one keeps it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = format!("{}://{}", name.scheme.name(), name.bucket);
        let url = StoreUrl::parse(&url).unwrap_or_else(|| Err("it names no bucket".to_owned()))?;
        let variables = environment::variables();
        let (place, source, context) = match name.scheme {
            Scheme::S3 => {
                let (builder, context) = environment::s3(&url, Patience::Hasty, &variables)?;
                let place = Place::of_s3(&builder)?;
                (place, Source::of_s3(builder)?, context)
            }
            Scheme::Gs => {
                let (builder, context) = environment::google(&url, Patience::Hasty, &variables)?;
                let place = Place::of_gs(&builder)?;
                (place, Source::of_gs(builder)?, context)
            }
            Scheme::Az => {
                let (builder, context) = environment::azure::builder(&url, Patience::Hasty, &variables)?;
                if account_of(&builder).is_empty() {
                    return Err(context.no_credentials());
                }
                let place = Place::of_az(&builder)?;
                (place, Source::of_az(builder)?, context)
            }
        };
        let context = Context { endpoint: place.host(), ..context };
        Ok(Self { place, source, context, state: Mutex::default() })
    }

    /// The credentials of this moment.
    async fn credential(&self) -> Result<Credential, RequestError> {
        if matches!(self.source, Source::None) {
            return Ok(Credential::None);
        }
        // One asks, and the others wait for what it gets.
        let mut state = self.state.lock().await;
        if let Some((until, error)) = &state.failure
            && Instant::now() < *until
        {
            return Err(error.clone());
        }
        match self.source.credential().await {
            Ok(credential) => {
                *state = State { has_had_credentials: true, failure: None };
                Ok(credential)
            }
            Err(error) => {
                let sentence = self.context.explain(&error).to_string();
                let error = RequestError { sentence, may_pass: state.has_had_credentials };
                let pause = if error.may_pass { SHORT_PAUSE } else { PAUSE };
                state.failure = Some((Instant::now() + pause, error.clone()));
                Err(error)
            }
        }
    }
}

impl Source {
    fn of_s3(builder: AmazonS3Builder) -> Result<Self, String> {
        let get = |key| builder.get_config_value(&key).unwrap_or_default();
        if get(AmazonS3ConfigKey::SkipSignature) == "true" {
            return Ok(Self::None);
        }
        let region = builder.get_config_value(&AmazonS3ConfigKey::Region).unwrap_or_else(|| DEFAULT_REGION.to_owned());
        let pays = matches!(&*get(AmazonS3ConfigKey::RequestPayer), "true" | "requester");
        let store = builder.build().map_err(|error| shortened(&error))?;
        Ok(Self::S3 { provider: Arc::clone(store.credentials()), region: region.into(), pays })
    }

    fn of_gs(builder: GoogleCloudStorageBuilder) -> Result<Self, String> {
        if builder.get_config_value(&GoogleConfigKey::SkipSignature).is_some_and(|value| value == "true") {
            return Ok(Self::None);
        }
        let store = builder.build().map_err(|error| shortened(&error))?;
        Ok(Self::Gs(Arc::clone(store.credentials())))
    }

    fn of_az(builder: MicrosoftAzureBuilder) -> Result<Self, String> {
        if builder.get_config_value(&AzureConfigKey::SkipSignature).is_some_and(|value| value == "true") {
            return Ok(Self::None);
        }
        let account = account_of(&builder);
        let store = builder.build().map_err(|error| shortened(&error))?;
        Ok(Self::Az { provider: Arc::clone(store.credentials()), account: account.into() })
    }

    async fn credential(&self) -> object_store::Result<Credential> {
        Ok(match self {
            Self::None => Credential::None,
            Self::S3 { provider, region, pays } => {
                Credential::S3 { credential: provider.get_credential().await?, region: Arc::clone(region), pays: *pays }
            }
            Self::Gs(provider) => Credential::Gs(provider.get_credential().await?),
            Self::Az { provider, account } => {
                Credential::Az { credential: provider.get_credential().await?, account: Arc::clone(account) }
            }
        })
    }
}

/// The region of S3 where none is said, as for the library.
const DEFAULT_REGION: &str = "us-east-1";

/// The account of the emulator of Azure.
const EMULATOR_ACCOUNT: &str = "devstoreaccount1";

fn is_emulator(builder: &MicrosoftAzureBuilder) -> bool {
    builder.get_config_value(&AzureConfigKey::UseEmulator).is_some_and(|value| value == "true")
}

fn account_of(builder: &MicrosoftAzureBuilder) -> String {
    let default = || if is_emulator(builder) { EMULATOR_ACCOUNT.to_owned() } else { String::new() };
    builder.get_config_value(&AzureConfigKey::AccountName).unwrap_or_else(default)
}

/// Where the objects of a kind of store are: what is before the name of the bucket, and what is behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    before: String,
    after: String,
}

impl Place {
    /// Buckets are folders of this URL.
    fn below(endpoint: &str) -> Result<Self, String> {
        Ok(Self { before: format!("{}/", plain(endpoint)?), after: String::new() })
    }

    /// Buckets are hosts below that of this URL.
    fn hosts_of(endpoint: &str) -> Result<Self, String> {
        let endpoint = plain(endpoint)?;
        let (scheme, host) = endpoint.split_once("://").unwrap_or_default();
        Ok(Self { before: format!("{scheme}://"), after: format!(".{host}") })
    }

    fn of_s3(builder: &AmazonS3Builder) -> Result<Self, String> {
        let get = |key| builder.get_config_value(&key);
        if get(AmazonS3ConfigKey::S3Express).is_some_and(|value| value == "true") {
            return Err("a bucket of S3 Express wants sessions, which requests for images do not have".to_owned());
        }
        let region = get(AmazonS3ConfigKey::Region).unwrap_or_else(|| DEFAULT_REGION.to_owned());
        let endpoint = get(AmazonS3ConfigKey::S3Endpoint).or_else(|| get(AmazonS3ConfigKey::Endpoint));
        let endpoint = endpoint.unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
        match get(AmazonS3ConfigKey::VirtualHostedStyleRequest).as_deref() {
            Some("true") => Self::hosts_of(&endpoint),
            _ => Self::below(&endpoint),
        }
    }

    fn of_gs(builder: &GoogleCloudStorageBuilder) -> Result<Self, String> {
        #[derive(serde::Deserialize)]
        struct ServiceAccount {
            gcs_base_url: Option<String>,
        }
        let get = |key| builder.get_config_value(&key);
        let of_file = || get(GoogleConfigKey::ServiceAccount).and_then(|file| fs::read_to_string(file).ok());
        let account = || get(GoogleConfigKey::ServiceAccountKey).or_else(of_file);
        let of_account = || serde_json::from_str::<ServiceAccount>(&account()?).ok()?.gcs_base_url;
        let base = get(GoogleConfigKey::BaseUrl).or_else(of_account);
        Self::below(base.as_deref().unwrap_or("https://storage.googleapis.com"))
    }

    fn of_az(builder: &MicrosoftAzureBuilder) -> Result<Self, String> {
        let get = |key| builder.get_config_value(&key);
        let account = account_of(builder);
        if is_emulator(builder) {
            let emulator = std::env::var("AZURITE_BLOB_STORAGE_URL");
            let emulator = emulator.unwrap_or_else(|_| "http://127.0.0.1:10000".to_owned());
            return Self::below(&format!("{}/{account}", plain(&emulator)?));
        }
        let domain = match get(AzureConfigKey::UseFabricEndpoint).as_deref() {
            Some("true") => "blob.fabric.microsoft.com",
            _ => "blob.core.windows.net",
        };
        Self::below(&get(AzureConfigKey::Endpoint).unwrap_or_else(|| format!("https://{account}.{domain}")))
    }

    /// The host, and its port, as sentences have it.
    fn host(&self) -> String {
        let host = if self.after.is_empty() { &self.before } else { &self.after };
        let host = host.split_once("://").map_or(&**host, |(_, rest)| rest).trim_start_matches('.');
        host.split('/').next().unwrap_or_default().to_owned()
    }

    /// The URL of an object.
    fn url(&self, name: &ObjectName) -> Result<Url, String> {
        let Self { before, after } = self;
        let (bucket, key) = (&name.bucket, name.encoded_key());
        let host = after.get(1..).unwrap_or_default();
        let text = if !host.is_empty() && host.strip_prefix(&**bucket).is_some_and(|rest| rest.starts_with('.')) {
            // The endpoint is that of the bucket.
            format!("{before}{host}/{key}")
        } else {
            format!("{before}{bucket}{after}/{key}")
        };
        let url = Url::parse(&text).map_err(|error| format!("its endpoint is no URL: {error}"))?;
        // What is signed must be what is asked for.
        if url.as_str() == text { Ok(url) } else { Err("its key is none that a request can ask for".to_owned()) }
    }
}

/// A URL without user, query and fragment, and without a slash at its end.
fn plain(endpoint: &str) -> Result<String, String> {
    let fail = |what: &str| format!("the endpoint of the store {what}");
    let mut url = Url::parse(endpoint).map_err(|error| fail(&format!("is no URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(fail("begins neither with https:// nor with http://"));
    }
    // Neither can fail, because the URL has a host.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ObjectName {
        let url = super::super::object_url::parse(text).expect("of a store").expect("an object");
        ObjectName::of(&url).expect("an object")
    }

    #[test]
    fn objects_are_where_the_stores_have_them() {
        let s3 = |endpoint: Option<&str>, hosted: bool| {
            let builder = AmazonS3Builder::new().with_region("eu-1").with_virtual_hosted_style_request(hosted);
            Place::of_s3(&endpoint.into_iter().fold(builder, AmazonS3Builder::with_endpoint)).expect("a place")
        };
        let az = |endpoint: Option<&str>| {
            let builder = MicrosoftAzureBuilder::new().with_account("acc");
            let set = |builder: MicrosoftAzureBuilder, endpoint: &str| builder.with_endpoint(endpoint.to_owned());
            Place::of_az(&endpoint.into_iter().fold(builder, set)).expect("a place")
        };
        let gs = Place::of_gs(&GoogleCloudStorageBuilder::new()).expect("a place");
        let account = r#"{"gcs_base_url": "http://u:p@127.0.0.1:4443", "disable_oauth": true}"#;
        let emulator = GoogleCloudStorageBuilder::new().with_service_account_key(account);
        for (place, expected) in [
            (s3(None, false), "https://s3.eu-1.amazonaws.com/b.c/x%20y%25/%3F"),
            (s3(None, true), "https://b.c.s3.eu-1.amazonaws.com/x%20y%25/%3F"),
            (s3(Some("http://u:p@127.0.0.1:9000/path/"), false), "http://127.0.0.1:9000/path/b.c/x%20y%25/%3F"),
            (s3(Some("https://store.example"), true), "https://b.c.store.example/x%20y%25/%3F"),
            (s3(Some("https://b.c.store.example/"), true), "https://b.c.store.example/x%20y%25/%3F"),
            (az(None), "https://acc.blob.core.windows.net/b.c/x%20y%25/%3F"),
            (az(Some("http://127.0.0.1:1/acc")), "http://127.0.0.1:1/acc/b.c/x%20y%25/%3F"),
            (gs, "https://storage.googleapis.com/b.c/x%20y%25/%3F"),
            (Place::of_gs(&emulator).expect("a place"), "http://127.0.0.1:4443/b.c/x%20y%25/%3F"),
        ] {
            assert_eq!(place.url(&name("s3://b.c/x y%/?")).map(String::from).as_deref(), Ok(expected));
        }
        let hosts = [s3(None, true), s3(Some("http://u:p@127.0.0.1:9000/path/"), false)].map(|place| place.host());
        assert_eq!(hosts, ["s3.eu-1.amazonaws.com", "127.0.0.1:9000"]);
        let place = Place { before: "https://s3.example/".into(), after: String::new() };
        let odd = ObjectName { key: "a/../b".into(), ..name("s3://b/a") };
        place.url(&odd).expect_err("another object would be asked for");
    }

    fn request(credential: Credential) -> ObjectRequest {
        let context = Context { scheme: Scheme::Az, bucket: "b".into(), endpoint: "store.example".into() };
        let place = Place { before: "https://store.example/".into(), after: String::new() };
        let url = place.url(&name("az://b/a b.png")).expect("a URL");
        let access = Access { place, source: Source::None, context, state: Mutex::default() };
        ObjectRequest { url, bucket: "b".into(), access: Arc::new(access), credential }
    }

    #[test]
    fn azure_signs_the_range_and_secrets_are_not_shown() {
        let credential =
            AzureCredential::AccessKey(object_store::azure::AzureAccessKey::try_new("c2VjcmV0").expect("a key"));
        let request = request(Credential::Az { credential: Arc::new(credential), account: "acc".into() });
        let signature = |range: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert("date", HeaderValue::from_static("Sun, 29 Nov 2026 10:00:00 GMT"));
            headers.extend(range.map(|range| (http::header::RANGE, HeaderValue::from_static(range))));
            let asked = request.authorize(&mut headers).expect("a signature");
            assert_eq!(asked.as_str(), "https://store.example/b/a%20b.png");
            assert_eq!(format!("{:?}", headers[AUTHORIZATION]), "Sensitive");
            headers[AUTHORIZATION].clone()
        };
        assert_ne!(signature(None), signature(Some("bytes=5-")));
        let shown = format!("{request:?} {:?}", request.access);
        assert_eq!(shown, "ObjectRequest(https://store.example/b/a%20b.png) Access(store.example)");
    }

    #[test]
    fn a_token_that_is_no_field_is_refused() {
        let s3 = |key_id: &str, token: Option<&str>| {
            let token = token.map(str::to_owned);
            let credential = Arc::new(AwsCredential { key_id: key_id.into(), secret_key: "s".into(), token });
            request(Credential::S3 { credential, region: "r".into(), pays: false })
        };
        for request in [
            s3("a\nb", None),
            s3("a", Some("b\n")),
            request(Credential::Gs(Arc::new(GcpCredential { bearer: "a\r".into() }))),
            request(Credential::Az {
                credential: Arc::new(AzureCredential::BearerToken("a\n".into())),
                account: "a".into(),
            }),
        ] {
            let error = request.authorize(&mut HeaderMap::new()).expect_err("no field");
            assert_eq!(error, "the credentials of store.example cannot be sent");
        }
    }

    #[test]
    fn answers_are_explained_in_single_words() {
        let explained = |status, document: &str| {
            request(Credential::Gs(Arc::new(GcpCredential { bearer: "a".into() })))
                .explain(status, None, document)
                .map(|refusal| refusal.clause)
        };
        let code =
            |code: &str| format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>long</Message></Error>");
        for (status, document, expected) in [
            (404, code("BlobNotFound"), Some("it is not in the bucket b")),
            (404, String::new(), Some("it is not in the bucket b")),
            (404, code("ContainerNotFound"), Some("there is no bucket b at store.example")),
            (503, code("SlowDown"), Some("SlowDown")),
            (418, code("Tea"), Some("Tea")),
            (418, code("Tea <b>"), None),
            (500, "oops".to_owned(), None),
            (403, code("AuthenticationFailed"), Some("store.example refuses the credentials")),
        ] {
            assert_eq!(explained(status, &document).as_deref(), expected, "{status} {document}");
        }
    }
}
