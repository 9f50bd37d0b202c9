//! A small object store that speaks the protocol of S3, and that of Google Cloud Storage, with faults.
//!
//! It keeps objects in memory, knows one bucket by the name `bucket`, and checks signatures as S3 does, but for their time.
//! Google's XML API differs in what is used here by the header of a token in place of a signature, and by that of a condition. A
//! [`Fault`] is a row of a table: which requests it meets, which of those, and what happens then.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use percent_encoding::AsciiSet;
use sha2::{Digest as _, Sha256};

use super::Program;

/// The key that the store knows.
pub const ACCESS_KEY: &str = "AKIDEXAMPLE";

/// The secret that must not be seen anywhere.
pub const SECRET_KEY: &str = "wJalrXUtnFEMI-K7MDENG-bPxRfiCYEXAMPLEKEY";

/// Another one.
pub const SESSION_TOKEN: &str = "FwoGZXIvYXdzEXAMPLETOKEN";

/// The token that lets a program in that speaks Google's protocol.
pub const BEARER_TOKEN: &str = "ya29.EXAMPLE-TOKEN-OF-GOOGLE";

/// What is encoded in a query that is signed.
const RESERVED: &AsciiSet = &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// What happens to a request.
#[derive(Clone, Debug)]
pub enum What {
    /// It is refused with this status and this code.
    Refuse(u16, &'static str),
    /// It is answered with this status and a page, as a server does that is no store.
    Page(u16),
    /// The connection ends before anything is done.
    Break,
    /// All is done, and the connection ends before the answer.
    LoseAnswer,
    /// The answer comes only after this time.
    Stall(Duration),
    /// Another program puts this object just before.
    Foreign(&'static str, Vec<u8>),
    /// The body ends with the connection after so many bytes.
    Cut(usize),
    /// After so many bytes of the body nothing comes for this time.
    StallAfter(usize, Duration),
    /// The bucket is in another region, as this status says with this field and this code.
    OtherRegion(u16, &'static str),
}

/// A row of the table of faults.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The method, or an empty text for any.
    pub method: &'static str,
    /// What the path and the query hold.
    pub holds: &'static str,
    /// Of these requests each `every`-th one is met, ...
    pub every: usize,
    /// ... and this number in all.
    pub times: usize,
    pub what: What,
}

impl Fault {
    /// A fault of all requests of this kind.
    pub fn always(method: &'static str, holds: &'static str, what: What) -> Self {
        Self { method, holds, every: 1, times: usize::MAX, what }
    }

    /// A fault of the first request of this kind.
    pub fn once(method: &'static str, holds: &'static str, what: What) -> Self {
        Self { times: 1, ..Self::always(method, holds, what) }
    }
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Vec<u8>>,
    uploads: BTreeMap<String, (String, BTreeMap<usize, Vec<u8>>)>,
    begun: usize,
    faults: Vec<(Fault, usize, usize)>,
    requests: Vec<String>,
    heads: Vec<BTreeMap<String, String>>,
    ignores_conditions: bool,
    is_public: bool,
    bytes_out: u64,
}

/// The store. It ends when this is dropped.
pub struct S3 {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    has_ended: Arc<AtomicBool>,
}

struct Request {
    method: String,
    /// The path without the name of the bucket.
    key: Option<String>,
    bucket: String,
    query: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
    line: String,
    target: String,
}

struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl S3 {
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (state, has_ended) = (Arc::<Mutex<State>>::default(), Arc::<AtomicBool>::default());
        let (shared, ends) = (Arc::clone(&state), Arc::clone(&has_ended));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ends.load(Ordering::Relaxed) {
                    break;
                }
                let (Ok(stream), shared) = (stream, Arc::clone(&shared)) else { continue };
                std::thread::spawn(move || serve(&stream, &shared));
            }
        });
        Self { address, state, has_ended }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A program that finds the store by its environment.
    pub fn known_to(&self, program: Program) -> Program {
        let program = program.env("AWS_ENDPOINT_URL", self.endpoint()).env("AWS_ACCESS_KEY_ID", ACCESS_KEY);
        program.env("AWS_SECRET_ACCESS_KEY", SECRET_KEY).env("AWS_REGION", "eu-central-1")
    }

    /// A program that finds the store by its environment, and takes it for Google's.
    pub fn known_to_google(&self, program: Program) -> Program {
        program.env("GOOGLE_BASE_URL", self.endpoint()).env("GOOGLE_BEARER_TOKEN", BEARER_TOKEN)
    }

    /// Adds a fault.
    pub fn fault(&self, fault: Fault) {
        self.state().faults.push((fault, 0, 0));
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.state().faults.clear();
    }

    /// From now on, `If-None-Match` means nothing.
    pub fn ignore_conditions(&self) {
        self.state().ignores_conditions = true;
    }

    /// From now on, requests need no signature.
    pub fn make_public(&self) {
        self.state().is_public = true;
    }

    /// The names of all objects.
    pub fn objects(&self) -> Vec<String> {
        self.state().objects.keys().cloned().collect()
    }

    #[track_caller]
    pub fn object(&self, key: &str) -> Vec<u8> {
        self.state().objects.get(key).cloned().unwrap_or_else(|| panic!("no {key} in the store"))
    }

    pub fn put(&self, key: &str, content: impl Into<Vec<u8>>) {
        self.state().objects.insert(key.to_owned(), content.into());
    }

    pub fn remove(&self, key: &str) {
        self.state().objects.remove(key);
    }

    /// Uploads that were begun, and neither completed nor aborted.
    pub fn open_uploads(&self) -> usize {
        self.state().uploads.len()
    }

    /// The lines of all requests so far that begin and end so; the query is left out.
    pub fn requests(&self, begin: &str, end: &str) -> usize {
        self.state().requests.iter().filter(|line| line.starts_with(begin) && line.ends_with(end)).count()
    }

    /// Waits until there were so many requests that begin and end so.
    #[track_caller]
    pub fn wait_for_request(&self, begin: &str, end: &str, count: usize, longest: Duration) {
        let until = Instant::now() + longest;
        while self.requests(begin, end) < count {
            assert!(Instant::now() < until, "{} of {count} requests", self.requests(begin, end));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The fields of all requests so far, by their names in small letters.
    pub fn heads(&self) -> Vec<BTreeMap<String, String>> {
        self.state().heads.clone()
    }

    /// The bytes of objects that were sent.
    pub fn bytes_out(&self) -> u64 {
        self.state().bytes_out
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.has_ended.store(true, Ordering::Relaxed);
        // The thread waits for a connection.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(stream: &TcpStream, state: &Mutex<State>) {
    let _ = stream.set_nodelay(true);
    let mut reader = BufReader::new(stream);
    while let Ok(Some(request)) = read(&mut reader) {
        let what = meet(state, &request);
        match &what {
            Some(What::Break) => return,
            Some(What::Stall(time)) => std::thread::sleep(*time),
            Some(What::Foreign(key, content)) => {
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                state.objects.insert((*key).to_owned(), content.clone());
            }
            _ => {}
        }
        let answer = match &what {
            Some(What::Refuse(status, code)) => refuse(*status, code),
            Some(What::OtherRegion(status, code)) => {
                let mut answer = refuse(*status, code);
                answer.headers.push(("x-amz-bucket-region", "ap-south-1".into()));
                answer.headers.push(("Location", "http://127.0.0.1:1/elsewhere".into()));
                answer
            }
            Some(What::Page(status)) => Answer {
                status: *status,
                headers: vec![("Content-Type", "text/html".into())],
                body: b"<html><body>Welcome to a web server</body></html>".to_vec(),
            },
            _ => answer(state, &request),
        };
        let is_over = match what {
            Some(What::LoseAnswer) => true,
            Some(What::Cut(bytes)) => send(stream, &request, &answer, bytes).is_ok(),
            Some(What::StallAfter(bytes, time)) => {
                let _ = send(stream, &request, &answer, bytes);
                std::thread::sleep(time);
                true
            }
            _ => send(stream, &request, &answer, usize::MAX).is_err(),
        };
        if is_over {
            return;
        }
    }
}

/// Notes a request. Returns the fault that meets it.
fn meet(state: &Mutex<State>, request: &Request) -> Option<What> {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let path = request.line.split('?').next().unwrap_or_default().to_owned();
    state.requests.push(path);
    state.heads.push(request.headers.clone());
    for (fault, seen, met) in &mut state.faults {
        if request.line.starts_with(fault.method) && request.line.contains(fault.holds) {
            *seen += 1;
            if seen.is_multiple_of(fault.every) && *met < fault.times {
                *met += 1;
                return Some(fault.what.clone());
            }
        }
    }
    None
}

fn read(reader: &mut BufReader<&TcpStream>) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let path = path.trim_start_matches('/');
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    Ok(Some(Request {
        method: method.to_owned(),
        key: (!key.is_empty()).then(|| decode(key)),
        bucket: bucket.to_owned(),
        query: pairs.map(|(name, value)| (name.to_owned(), decode(value))).collect(),
        headers,
        body,
        line: format!("{method} /{}", target.trim_start_matches('/')),
        target: target.to_owned(),
    }))
}

fn refuse(status: u16, code: &str) -> Answer {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>A long explanation of {code}</Message>\
         <RequestId>4442587FB7D0A2F9</RequestId></Error>"
    );
    Answer { status, headers: vec![("Content-Type", "application/xml".into())], body: body.into_bytes() }
}

fn xml(body: String) -> Answer {
    Answer { status: 200, headers: vec![("Content-Type", "application/xml".into())], body: body.into_bytes() }
}

fn tag(content: &[u8]) -> String {
    format!("\"{}\"", hex(&Sha256::digest(content)[..16]))
}

/// Who may not ask, and why.
fn refusal(request: &Request, state: &State) -> Option<Answer> {
    let Some(authorization) = request.headers.get("authorization") else {
        return (!state.is_public).then(|| refuse(403, "AccessDenied"));
    };
    if let Some(token) = authorization.strip_prefix("Bearer ") {
        return (token != BEARER_TOKEN).then(|| refuse(401, "AuthenticationRequired"));
    }
    if !authorization.contains(&format!("Credential={ACCESS_KEY}/")) {
        return Some(refuse(403, "InvalidAccessKeyId"));
    }
    let signed = authorization.rsplit_once("Signature=").map(|(_, signature)| signature.to_owned());
    (signature(&request.method, &request.target, &request.headers, SECRET_KEY) != signed)
        .then(|| refuse(403, "SignatureDoesNotMatch"))
}

/// The signature that a request with these fields must have (AWS Signature Version 4), of those that its `Authorization` says
/// are signed. `None` if that field is not as it should be.
pub fn signature(method: &str, target: &str, headers: &BTreeMap<String, String>, secret: &str) -> Option<String> {
    let authorization = headers.get("authorization")?;
    let part = |name: &str| authorization.split_once(name)?.1.split(',').next();
    let (signed_headers, scope) = (part("SignedHeaders=")?, part("Credential=")?.split_once('/')?.1);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let encode = |text: &str| percent_encoding::utf8_percent_encode(text, RESERVED).to_string();
    let mut pairs = url::form_urlencoded::parse(query.as_bytes())
        .map(|(name, value)| format!("{}={}", encode(&name), encode(&value)))
        .collect::<Vec<_>>();
    pairs.sort();
    let mut request = format!("{method}\n{path}\n{}\n", pairs.join("&"));
    for name in signed_headers.split(';') {
        let _ = writeln!(request, "{name}:{}", headers.get(name)?);
    }
    let _ = write!(request, "\n{signed_headers}\n{}", headers.get("x-amz-content-sha256")?);
    let date = headers.get("x-amz-date")?;
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&Sha256::digest(request.as_bytes())));
    let key = scope.split('/').fold(format!("AWS4{secret}").into_bytes(), |key, word| hmac(&key, word.as_bytes()));
    Some(hex(&hmac(&key, text.as_bytes())))
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    assert!(key.len() <= 64, "a longer key would have to be hashed");
    let padded = |pad: u8| (0..64).map(|at| key.get(at).copied().unwrap_or(0) ^ pad).collect::<Vec<_>>();
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut digits, byte| {
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

fn answer(state: &Mutex<State>, request: &Request) -> Answer {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(refusal) = refusal(request, &state) {
        return refusal;
    }
    if request.bucket != "bucket" {
        return refuse(404, "NoSuchBucket");
    }
    let get = |name: &str| request.query.get(name).map(String::as_str);
    let empty = |status| Answer { status, headers: Vec::new(), body: Vec::new() };
    let Some(key) = &request.key else { return list(&state, request) };
    let exists = state.objects.contains_key(key);
    let is_googles = request.headers.get("authorization").is_some_and(|header| header.starts_with("Bearer "));
    let (condition, value) = if is_googles { ("x-goog-if-generation-match", "0") } else { ("if-none-match", "*") };
    let is_condition = request.headers.get(condition).is_some_and(|found| found == value);
    let fails_condition = is_condition && exists && !state.ignores_conditions;
    match (&*request.method, get("uploadId")) {
        ("PUT", Some(upload)) => {
            let number = get("partNumber").and_then(|number| number.parse().ok()).unwrap_or(0);
            let Some((_, parts)) = state.uploads.get_mut(upload) else { return refuse(404, "NoSuchUpload") };
            parts.insert(number, request.body.clone());
            Answer { headers: vec![("ETag", tag(&request.body))], ..empty(200) }
        }
        ("PUT", None) if fails_condition => refuse(412, "PreconditionFailed"),
        ("PUT", None) => {
            state.objects.insert(key.clone(), request.body.clone());
            Answer { headers: vec![("ETag", tag(&request.body))], ..empty(200) }
        }
        ("POST", None) => {
            state.begun += 1;
            let upload = format!("upload-{}", state.begun);
            state.uploads.insert(upload.clone(), (key.clone(), BTreeMap::new()));
            xml(format!("<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"))
        }
        ("POST", Some(upload)) => {
            let Some((key, parts)) = state.uploads.remove(upload) else { return refuse(404, "NoSuchUpload") };
            let is_small = |part: &Vec<u8>| part.len() < 5 << 20;
            let count = parts.len();
            if parts.values().take(count - 1).any(is_small) || parts.keys().copied().ne(1..=count) {
                return refuse(400, "EntityTooSmall");
            }
            let content = parts.into_values().flatten().collect::<Vec<_>>();
            let answer = format!(
                "<CompleteMultipartUploadResult><ETag>{}</ETag></CompleteMultipartUploadResult>",
                tag(&content).replace('"', "&quot;")
            );
            state.objects.insert(key, content);
            xml(answer)
        }
        ("DELETE", Some(upload)) => match state.uploads.remove(upload) {
            Some(_) => empty(204),
            None => refuse(404, "NoSuchUpload"),
        },
        ("DELETE", None) => {
            state.objects.remove(key);
            empty(204)
        }
        ("GET" | "HEAD", None) => {
            let Some(content) = state.objects.get(key).cloned() else {
                return if request.method == "HEAD" { empty(404) } else { refuse(404, "NoSuchKey") };
            };
            if request.headers.get("if-match").is_some_and(|wanted| *wanted != tag(&content)) {
                return refuse(412, "PreconditionFailed");
            }
            let mut headers =
                vec![("ETag", tag(&content)), ("Last-Modified", httpdate::fmt_http_date(SystemTime::UNIX_EPOCH))];
            let range = request.headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
            let Some((first, last)) = range else {
                if request.method == "GET" {
                    state.bytes_out += content.len() as u64;
                }
                return Answer { status: 200, headers, body: content };
            };
            let first = first.parse::<usize>().unwrap_or(0);
            let last = last.parse::<usize>().unwrap_or(usize::MAX).min(content.len().saturating_sub(1));
            headers.push(("Content-Range", format!("bytes {first}-{last}/{}", content.len())));
            state.bytes_out += (last + 1 - first) as u64;
            Answer { status: 206, headers, body: content[first..=last].to_vec() }
        }
        _ => refuse(405, "MethodNotAllowed"),
    }
}

/// A list of objects, in pages of three.
fn list(state: &State, request: &Request) -> Answer {
    let get = |name: &str| request.query.get(name).map_or("", String::as_str);
    if request.method != "GET" || get("list-type") != "2" {
        return refuse(405, "MethodNotAllowed");
    }
    let (prefix, delimiter, after) = (get("prefix"), get("delimiter"), get("continuation-token"));
    let mut found = BTreeMap::new();
    for (key, content) in state.objects.iter().filter(|(key, _)| key.starts_with(prefix)) {
        let rest = &key[prefix.len()..];
        if let Some((folder, _)) = rest.split_once('/').filter(|_| delimiter == "/") {
            let folder = format!("{prefix}{folder}/");
            found.insert(folder.clone(), format!("<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>"));
        } else {
            let entry = format!(
                "<Contents><Key>{key}</Key><Size>{}</Size><LastModified>2026-01-01T00:00:00.000Z</LastModified>\
                 <ETag>{}</ETag></Contents>",
                content.len(),
                tag(content).replace('"', "&quot;")
            );
            found.insert(key.clone(), entry);
        }
    }
    let mut page = found.into_iter().filter(|(key, _)| key.as_str() > after).collect::<Vec<_>>();
    let next = (page.len() > 3).then(|| page[2].0.clone());
    page.truncate(3);
    let next = next.map_or_else(
        || "<IsTruncated>false</IsTruncated>".to_owned(),
        |next| format!("<IsTruncated>true</IsTruncated><NextContinuationToken>{next}</NextContinuationToken>"),
    );
    let entries = page.into_iter().map(|(_, entry)| entry).collect::<String>();
    xml(format!("<ListBucketResult><Name>bucket</Name>{entries}{next}</ListBucketResult>"))
}

/// Sends an answer, with so many bytes of its body at most.
fn send(mut stream: &TcpStream, request: &Request, answer: &Answer, bytes: usize) -> io::Result<()> {
    let mut head = format!("HTTP/1.1 {} Status\r\nContent-Length: {}\r\n", answer.status, answer.body.len());
    for (name, value) in &answer.headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    let body = &answer.body[..answer.body.len().min(bytes)];
    if request.method == "HEAD" { Ok(()) } else { stream.write_all(body) }
}
