import java.io.IOException;
import java.io.StringReader;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;
import java.util.concurrent.ThreadLocalRandom;
import javax.xml.xpath.XPathConstants;
import javax.xml.xpath.XPathFactory;
import org.w3c.dom.NodeList;
import org.xml.sax.InputSource;

/**
 * Finds the service in Eureka and asks a model, with the JDK alone (17 or later):
 *
 * <pre>java Scores.java http://eureka:8761/eureka inference-service digits '{"instances": [[...]]}'</pre>
 */
public class Scores {
    private static final int ATTEMPTS = 4;

    private final HttpClient client =
        HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(2)).build();
    private final String registry;

    Scores(String registry) {
        this.registry = registry;
    }

    public static void main(String[] arguments) throws Exception {
        Scores scores = new Scores(arguments[0]);
        System.out.println(scores.predict(arguments[1], arguments[2], arguments[3]));
    }

    /**
     * Asks an instance; another one where that one is gone, or after as long as it asks for where it is
     * full (503, 429). A prediction has no side effects, so it may be asked for twice.
     */
    String predict(String service, String model, String body) throws Exception {
        for (int attempt = 1; ; attempt++) {
            String problem;
            Duration wait = Duration.ofMillis(200);
            try {
                HttpResponse<String> answer = ask(instance(service), model, body);
                if (answer.statusCode() == 200) {
                    return answer.body();
                }
                problem = answer.statusCode() + " " + answer.body();
                if (answer.statusCode() != 503 && answer.statusCode() != 429) {
                    throw new IllegalStateException(problem);
                }
                wait = Duration.ofSeconds(
                    answer.headers().firstValueAsLong("Retry-After").orElse(1));
            } catch (IOException error) {
                problem = error.toString();
            }
            if (attempt == ATTEMPTS) {
                throw new IllegalStateException("after " + attempt + " attempts: " + problem);
            }
            Thread.sleep(wait.toMillis());
        }
    }

    private HttpResponse<String> ask(String root, String model, String body) throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(root + "v1/models/" + model + ":predict"))
            .header("Content-Type", "application/json")
            // Longer than limits.request_timeout: the service's own answer tells the reason.
            .timeout(Duration.ofSeconds(65))
            .POST(HttpRequest.BodyPublishers.ofString(body))
            .build();
        return client.send(request, BodyHandlers.ofString());
    }

    /** The root of one of the instances that are up; a service with many requests keeps the list. */
    private String instance(String service) throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(registry + "/vips/" + service))
            .header("Accept", "application/xml").timeout(Duration.ofSeconds(5)).build();
        String answer = client.send(request, BodyHandlers.ofString()).body();
        InputSource source = new InputSource(new StringReader(answer));
        NodeList found = (NodeList) XPathFactory.newInstance().newXPath()
            .evaluate("//instance[status='UP']/homePageUrl", source, XPathConstants.NODESET);
        if (found.getLength() == 0) {
            throw new IOException("no instance of " + service + " is up in " + registry);
        }
        int any = ThreadLocalRandom.current().nextInt(found.getLength());
        return found.item(any).getTextContent();
    }
}
