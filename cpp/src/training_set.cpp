#include "nearsight/training_set.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

namespace nearsight {

NetworkShape::NetworkShape(const std::vector<std::vector<Index>>& sizes,
                           const std::vector<Activation>& activations) {
  begin.push_back(0);
  for (const std::vector<Index>& element : sizes) {
    if (element.size() != activations.size() + 1)
      throw std::invalid_argument("a network needs one activation per layer");
    if (element.back() != 1)
      throw std::invalid_argument("the last layer of a network must have one output");
    std::vector<Layer> layers;
    for (std::size_t l = 0; l + 1 < element.size(); ++l) {
      if (element[l] < 1) throw std::invalid_argument("layers must have at least one node");
      layers.push_back({element[l], element[l + 1], activations[l], n_weights,
                        n_weights + element[l] * element[l + 1]});
      n_weights += (element[l] + 1) * element[l + 1];
    }
    elements.push_back(std::move(layers));
    begin.push_back(n_weights);
  }
}

void TrainingSet::check(const NetworkShape& shape) const {
  const auto offsets = [](const Index* values, Index n, Index last) {
    if (values[0] != 0 || values[n] != last) return false;
    return std::is_sorted(values, values + n + 1);
  };
  if (!offsets(image_centers, n_images, n_centers) || !offsets(image_rows, n_images, n_rows) ||
      !offsets(row_offsets, n_rows, n_blocks))
    throw std::invalid_argument("offsets of the training set do not fit its arrays");
  if (n_features % kFeatureLanes != 0)
    throw std::invalid_argument("features of the training set are not padded");
  for (Index c = 0; c < n_centers; ++c) {
    const int e = center_element[c];
    if (e < 0 || e >= static_cast<int>(shape.elements.size()))
      throw std::invalid_argument("a centre of the training set has an unknown element");
    if (shape.elements[e].front().inputs > n_features)
      throw std::invalid_argument("a network takes more features than the training set has");
  }
  for (Index g = 0; g < n_images; ++g) {
    if (image_centers[g] == image_centers[g + 1])
      throw std::invalid_argument("an image of the training set has no atoms");
    for (Index r = image_rows[g]; r < image_rows[g + 1]; ++r) {
      int element = 0;
      for (Index b = row_offsets[r]; b < row_offsets[r + 1]; ++b) {
        if (block_center[b] < image_centers[g] || block_center[b] >= image_centers[g + 1])
          throw std::invalid_argument("a block of the training set belongs to another image");
        if (center_element[block_center[b]] < element)
          throw std::invalid_argument("blocks of the training set are not ordered by element");
        element = center_element[block_center[b]];
      }
    }
  }
}

}  // namespace nearsight
