//! The whole program at work with no internet: `cargo run --release --example demo`.
//!
//! A small HTTPS server on loopback plays codeflex.co. It draws one picture for every URL of this project's
//! `urls.txt` and lets each answer wait as long as one from the other side of an ocean. `fetchimg` then runs as its
//! binary does, against that server, and the files it leaves are compared with what the server sent.
//!
//! Arguments after `--` are handed on to `fetchimg`; `--sequential` or `-j N` takes the place of `--compare`:
//! `cargo run --release --example demo -- --sequential -o elsewhere`.

#![expect(clippy::print_stderr, reason = "a demonstration talks; standard output stays the report's")]

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, thread};

use fetchimg::Exit;
use image::ImageFormat;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use url::Url;

const URL_LIST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/urls.txt");
const HOST: &str = "codeflex.co";
const OUTPUT: &str = "codeflex_images";
/// What passes between a request and the first byte of its answer.
const FIRST_BYTE_AFTER: Duration = Duration::from_millis(150);
const LONGEST_REQUEST_HEAD: u64 = 16 * 1024;

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    demonstrate().unwrap_or_else(|failure| {
        eprintln!("demo: {failure}");
        ExitCode::FAILURE
    })
}

fn demonstrate() -> Result<ExitCode, Failure> {
    let site = Arc::new(draw_site(Path::new(URL_LIST))?);
    let (tls, ca_pem) = certify(HOST).map_err(|e| format!("cannot make certificates: {e}"))?;
    let address = serve(Arc::clone(&site), tls).map_err(|e| format!("cannot start the server: {e}"))?;

    let mut ca_file = tempfile::Builder::new().prefix("demo-ca-").suffix(".pem").tempfile()?;
    ca_file.write_all(ca_pem.as_bytes())?;

    let extra: Vec<OsString> = std::env::args_os().skip(1).collect();
    let given = |flags: &[&str]| {
        let mut texts = extra.iter().map(|arg| arg.to_string_lossy());
        texts.any(|text| flags.iter().any(|flag| text.starts_with(flag)))
    };
    let output_is_ours = !given(&["-o", "--output"]);
    let names_are_ours = !given(&["--name", "-h", "--help", "-V", "--version"]);

    let mut args: Vec<OsString> = vec!["fetchimg".into(), URL_LIST.into()];
    if output_is_ours {
        args.extend(["-o".into(), OUTPUT.into()]);
    }
    if !given(&["--compare", "--sequential", "-j", "--concurrency"]) {
        args.push("--compare".into());
    }
    let resolve = format!("{HOST}:443:{}:{}", address.ip(), address.port());
    args.extend(["--overwrite".into(), "--resolve".into(), resolve.into()]);
    args.extend(["--cacert".into(), ca_file.path().into()]);
    // A proxy that the environment names does not reach this loopback.
    args.push("--proxy=".into());
    args.extend(extra);

    eprintln!("A demo server on loopback ({address}) plays {HOST}.");
    eprintln!("$ {}\n", args.join(OsStr::new(" ")).display());

    let exit = fetchimg::program(args);
    if matches!(exit, Exit::Clean | Exit::SomeFailed) && output_is_ours && names_are_ours {
        let differing = differences(&site, Path::new(OUTPUT));
        if !differing.is_empty() {
            return Err(differing.join("\ndemo: ").into());
        }
        eprintln!("\nAll {} files in {OUTPUT} are byte for byte what the server sent.", site.len());
    }
    Ok(exit.into())
}

/// One line for every file in `folder` that is not what the site serves under its name.
fn differences(site: &Site, folder: &Path) -> Vec<String> {
    let compare = |(path, (_, sent)): (&String, &Picture)| {
        let file = folder.join(path.rsplit('/').next().unwrap_or(path));
        match fs::read(&file) {
            Ok(bytes) if bytes == *sent => None,
            Ok(_) => Some(format!("{} differs from what the server sent", file.display())),
            Err(e) => Some(format!("{} cannot be read: {e}", file.display())),
        }
    };
    site.iter().filter_map(compare).collect()
}

// ---- The site: one picture for every line of the list ----

/// The pictures, by the path of their URL.
type Site = BTreeMap<String, Picture>;
type Picture = (ImageFormat, Vec<u8>);

fn draw_site(list: &Path) -> Result<Site, Failure> {
    let text = fs::read_to_string(list).map_err(|e| format!("cannot read {}: {e}", list.display()))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    thread::scope(|scope| {
        let artists: Vec<_> =
            lines.enumerate().map(|(number, line)| scope.spawn(move || draw_picture(number, line))).collect();
        artists.into_iter().map(|artist| artist.join().map_err(|_| "drawing a picture panicked")?).collect()
    })
}

fn draw_picture(number: usize, line: &str) -> Result<(String, Picture), Failure> {
    let url = Url::parse(line).map_err(|e| format!("{line}: {e}"))?;
    if url.scheme() != "https" || url.host_str() != Some(HOST) {
        return Err(format!("{line}: the demo plays https://{HOST} alone").into());
    }
    let format = ImageFormat::from_path(url.path()).map_err(|e| format!("{line}: {e}"))?;
    let mut body = io::Cursor::new(Vec::new());
    pictures::draw(number).write_to(&mut body, format)?;
    Ok((url.path().to_owned(), (format, body.into_inner())))
}

// ---- The server ----

/// A TLS configuration that speaks for `host`, and the PEM of the authority that vouches for it.
fn certify(host: &str) -> Result<(rustls::ServerConfig, String), Failure> {
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "fetchimg demo authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

    let key = KeyPair::generate()?;
    let leaf = CertificateParams::new([host.to_owned()])?.signed_by(&key, &authority)?;

    // Its own provider, so that the one of the process is left to the program.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((tls, authority.pem()))
}

/// Serves `site` from a thread of its own until the process ends.
fn serve(site: Arc<Site>, tls: rustls::ServerConfig) -> io::Result<SocketAddr> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    let address = listener.local_addr()?;
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let accept_all = async move {
        loop {
            match listener.accept().await {
                // How a conversation ends is the client's affair: it sees a broken connection itself.
                Ok((stream, _)) => drop(tokio::spawn(converse(stream, acceptor.clone(), Arc::clone(&site)))),
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    thread::Builder::new().name("codeflex.co".into()).spawn(move || runtime.block_on(accept_all))?;
    Ok(address)
}

/// Answers the requests of one connection, one after the other, until the client closes it.
async fn converse(stream: TcpStream, acceptor: TlsAcceptor, site: Arc<Site>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(acceptor.accept(stream).await?);
    while let Some(request) = read_head(&mut stream).await? {
        tokio::time::sleep(FIRST_BYTE_AFTER).await;
        let path = request.split(' ').nth(1).unwrap_or_default();
        let (status, content_type, body) = match site.get(path) {
            Some((format, picture)) => ("200 OK", format.to_mime_type(), picture.as_slice()),
            None => ("404 Not Found", "text/plain", b"No such picture.\n".as_slice()),
        };
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body).await?;
        stream.flush().await?;
    }
    stream.shutdown().await
}

/// The head of the next request, or `None` when there is none, or none of a sensible length.
async fn read_head(stream: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<String>> {
    let mut stream = stream.take(LONGEST_REQUEST_HEAD);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(head))
}

// ---- The pictures ----

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "coordinates and colours are small, and saturate where they leave the picture"
)]
mod pictures {
    use std::f32::consts::TAU;

    use image::{Rgb, RgbImage};

    type Colour = [u8; 3];
    type Point = (f32, f32);

    const WHITE: Colour = [255, 255, 255];
    const WARM: [Colour; 4] = [[255, 209, 102], [247, 140, 107], [239, 71, 111], [255, 240, 214]];
    const COOL: [Colour; 4] = [[76, 201, 240], [72, 149, 239], [128, 237, 153], [222, 244, 255]];

    /// The picture for line `number` of the list.
    pub fn draw(number: usize) -> RgbImage {
        let (scene, height, top, bottom): (fn(&mut Canvas), _, _, _) = match number % 5 {
            0 => (bars, 512, [21, 32, 74], [96, 62, 148]),
            1 => (pipeline, 536, [8, 60, 84], [24, 140, 132]),
            2 => (parts, 536, [64, 18, 66], [222, 98, 84]),
            3 => (|canvas| topology(canvas, 5, 3), 576, [16, 24, 40], [44, 92, 130]),
            _ => (|canvas| topology(canvas, 7, 1), 512, [70, 12, 34], [176, 48, 62]),
        };
        let gradient = |_, y| Rgb(mix(top, bottom, y as f32 / height as f32));
        let mut canvas = Canvas(RgbImage::from_fn(1024, height, gradient));
        scene(&mut canvas);
        canvas.0
    }

    fn bars(canvas: &mut Canvas) {
        let mut last = None;
        for i in 0..14_u8 {
            let t = f32::from(i) / 13.0;
            let x = 0.08 + 0.84 * t;
            let top = 0.62 - 0.34 * t - 0.12 * (t * 15.0).sin();
            canvas.stroke((x, 0.86), (x, top + 0.1), 22.0, COOL[usize::from(i % 3)]);
            let mark = (x, top - 0.08);
            if let Some(last) = last.replace(mark) {
                canvas.stroke(last, mark, 3.0, WARM[0]);
            }
            canvas.dot(mark, 9.0, WARM[3]);
        }
    }

    fn pipeline(canvas: &mut Canvas) {
        for row in 0..4_u8 {
            let start = 0.14 + 0.24 * f32::from(row);
            canvas.stroke((0.1, start), (0.9, 0.5), 2.5, COOL[3]);
            for stage in 0..3_u8 {
                let share = f32::from(stage) * 0.3;
                let (x, y) = (0.1 + 0.8 * share, start + (0.5 - start) * share);
                canvas.stroke((x - 0.045, y), (x + 0.045, y), 26.0 - 16.0 * share, WARM[usize::from(stage)]);
                canvas.dot((x - 0.045, y), 8.0, WHITE);
            }
        }
        canvas.dot((0.9, 0.5), 58.0, COOL[2]);
        canvas.dot((0.9, 0.5), 30.0, WHITE);
    }

    fn parts(canvas: &mut Canvas) {
        for row in 0..11_u8 {
            for column in 0..22_u8 {
                let (u, v) = (f32::from(column) / 21.0, f32::from(row) / 10.0);
                let wave = (u * 7.0 + (v * 5.0).sin() * 1.6).sin() * 0.5 + 0.5;
                let colour = WARM[usize::from((column + 2 * row) % 4)];
                canvas.dot((0.05 + 0.9 * u, 0.09 + 0.82 * v), 4.0 + 15.0 * wave, colour);
            }
        }
    }

    fn topology(canvas: &mut Canvas, nodes: u8, replicas: u8) {
        let at = |node: f32, radius: f32| {
            let (sin, cos) = (TAU * node / f32::from(nodes) + 0.2).sin_cos();
            (0.5 + radius * 0.6 * cos, 0.5 + radius * sin)
        };
        for i in 0..nodes {
            for j in 0..i {
                canvas.stroke(at(i.into(), 0.27), at(j.into(), 0.27), 1.5, WARM[1]);
            }
        }
        for i in 0..nodes {
            let node = at(i.into(), 0.27);
            for k in 0..replicas {
                let replica = at(f32::from(i) + 0.25 * (f32::from(k) - f32::from(replicas - 1) / 2.0), 0.42);
                canvas.stroke(node, replica, 3.0, WARM[3]);
                canvas.dot(replica, 15.0, COOL[usize::from((i + k) % 3)]);
            }
            canvas.dot(node, 30.0, WARM[usize::from(i % 2)]);
            canvas.dot(node, 13.0, WHITE);
        }
    }

    /// Points on it are fractions of its width and height, lengths are pixels.
    struct Canvas(RgbImage);

    impl Canvas {
        fn dot(&mut self, centre: Point, radius: f32, colour: Colour) {
            self.stroke(centre, centre, radius, colour);
        }

        /// A line with round ends, above a soft shadow of itself.
        fn stroke(&mut self, from: Point, to: Point, radius: f32, colour: Colour) {
            let (width, height) = self.0.dimensions();
            let [from, to] = [from, to].map(|(x, y)| (x * width as f32, y * height as f32));
            let below = |(x, y): Point| (x + radius * 0.15, y + radius * 0.3);
            self.blend(below(from), below(to), radius, radius * 0.8, [0, 0, 16], 0.35);
            self.blend(from, to, radius, 1.0, colour, 1.0);
        }

        /// Lays `colour` over all that is within `radius` of the line, fading out over `blur` pixels at the edge.
        fn blend(&mut self, from: Point, to: Point, radius: f32, blur: f32, colour: Colour, opacity: f32) {
            let (dx, dy) = (to.0 - from.0, to.1 - from.1);
            let length_squared = (dx * dx + dy * dy).max(f32::EPSILON);
            let reach = radius + blur;
            let span = |a: f32, b: f32, end: u32| (a.min(b) - reach) as u32..((a.max(b) + reach) as u32 + 1).min(end);
            for y in span(from.1, to.1, self.0.height()) {
                for x in span(from.0, to.0, self.0.width()) {
                    let (px, py) = (x as f32 - from.0, y as f32 - from.1);
                    let along = ((px * dx + py * dy) / length_squared).clamp(0.0, 1.0);
                    let distance = (px - along * dx).hypot(py - along * dy);
                    let cover = ((radius - distance) / blur + 0.5).clamp(0.0, 1.0);
                    let Rgb(pixel) = self.0.get_pixel_mut(x, y);
                    *pixel = mix(*pixel, colour, cover * opacity);
                }
            }
        }
    }

    fn mix(a: Colour, b: Colour, share: f32) -> Colour {
        std::array::from_fn(|i| (f32::from(a[i]) + (f32::from(b[i]) - f32::from(a[i])) * share).round() as u8)
    }
}
